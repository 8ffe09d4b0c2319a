"""`codalab-worker check`: what is well, what is not, and the mend for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from config.load import SettingsError, load
from worker.exit_codes import ExitCode
from worker.logs import redact
from worker.preflight import broker, engine, given_settings, leftovers, registry, temp_dir
from worker.preflight.lines import Check, CheckLine, State, any_failed
from worker.preflight.side_by_side import run_checks

CHECKS = (
    Check("broker", broker.look_at_runs),
    Check("updates", broker.look_at_updates),
    Check("engine", engine.look_at_engine),
    Check("limits", engine.look_at_limits),
    Check("gpu", engine.look_at_gpus),
    Check("temp dir", temp_dir.look_at_temp_dir),
    Check("input dir", temp_dir.look_at_input_dir),
    Check("cache", temp_dir.look_at_cache),
    Check("registry", registry.look_at_credentials),
    Check("leftovers", leftovers.look_at_leftovers),
)
_PATIENCE = 30.0  # seconds; a sane machine takes one or two
_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "bold red"}


def check(env_file: Path | None, *, as_json: bool) -> ExitCode:
    """Looks at everything, prints what it found, and tells by the exit code whether a worker could work here."""
    lines, code = _look(env_file)
    shown = [_redacted(line) for line in lines]
    if as_json:
        click.echo(json.dumps({"ok": code is ExitCode.OK, "checks": [line.as_dict() for line in shown]}, indent=2))
    elif sys.stdout.isatty():
        _draw(shown)
    else:
        for line in shown:
            click.echo(_plain(line))
    if not as_json:
        click.echo(_summary(shown))
    return code


def _look(env_file: Path | None) -> tuple[list[CheckLine], ExitCode]:
    try:
        loaded = load(env_file)
    except SettingsError as error:
        return given_settings.fault_lines(error), ExitCode.USAGE
    lines = given_settings.settings_lines(loaded)
    if any_failed(lines):
        return lines, ExitCode.USAGE
    lines += run_checks(CHECKS, loaded.settings, patience=_PATIENCE)
    return lines, ExitCode.UNREACHABLE if any_failed(lines) else ExitCode.OK


def _redacted(line: CheckLine) -> CheckLine:
    """What brokers and engines say is shown as they say it, but for secrets."""
    return CheckLine(line.name, line.state, redact(line.found), redact(line.mend))


def _plain(line: CheckLine) -> str:
    mend = f"\n{'':9}mend: {line.mend}" if line.mend else ""
    return f"{line.state:8} {line.name}: {line.found}{mend}"


def _summary(lines: Sequence[CheckLine]) -> str:
    states = [line.state for line in lines]
    verdict = "runs would fail here, or none be taken" if any_failed(lines) else "a worker can work here"
    return f"{states.count(State.FAILED)} failed, {states.count(State.WARNING)} to look at: {verdict}"


def _draw(lines: Sequence[CheckLine]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "found", "mend", box=None, pad_edge=False)
    for line in lines:
        table.add_row(Text(line.state, _COLOURS[line.state]), Text(line.name), Text(line.found), Text(line.mend))
    Console().print(table)
