"""Status updates on a terminal or in a pipe."""

from __future__ import annotations

import sys

import click

from worker.broker.updates import Update

_COLOURS = {"running": "cyan", "finished": "green", "failed": "red"}


def show_update(update: Update, *, as_json: bool) -> None:
    """The status, and the reason of a failure under it; or the whole update as one line of JSON."""
    if as_json:
        click.echo(update.as_json())
        return
    # By name: click would look beneath what rich puts in its place to keep progress bars below such lines.
    click.secho(update.status, fg=_COLOURS.get(update.status), file=sys.stdout)
    if update.traceback:
        click.echo(update.traceback, file=sys.stdout)
