"""One run in the foreground, its updates printed instead of published: what `exec` and `try` share."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import click

from config.settings import Settings
from protocol.run import RunRequest
from protocol.status import State
from worker import compose
from worker.broker.updates import CallbackSink
from worker.commands.progress import progress_bars
from worker.commands.show import show_update
from worker.exit_codes import ExitCode
from worker.run_control import InterruptedRunError, RunControl
from worker.runs.pipeline import work
from worker.set_up import SetUpError
from worker.signals import watch_signals
from worker.storage.store import Store
from worker.tools import Tools

WorkNow = Callable[[RunRequest], ExitCode]
"""Works one run, here and now, and tells its end by the exit code."""


def printing_sink(*, as_json: bool) -> CallbackSink:
    """Prints each update as it comes."""
    return CallbackSink(lambda update: show_update(update, as_json=as_json))


@contextmanager
def own_folder(settings: Settings, prefix: str) -> Iterator[Path]:
    """A temp dir for one command, so that it does not get in the way of a daemon on this host.

    Raises `SetUpError` where there can be none.
    """
    parent = settings.submission_temp_dir
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise SetUpError(f"SUBMISSION_TEMP_DIR: {parent} cannot be written to: {error.strerror}.") from error
    with made as folder:
        yield Path(folder)


@contextmanager
def working(settings: Settings, folder: Path, *, as_json: bool, store: Store | None = None) -> Iterator[WorkNow]:
    """Gives what works one run to its end, with progress bars on a terminal. Raises as `compose.tools` does."""
    control = RunControl()
    watch_signals(_interrupting(control))  # before any other thread is there
    with (
        progress_bars(wanted=not as_json) as progress,
        compose.tools(
            settings, printing_sink(as_json=as_json), temp_dir=folder, progress=progress, store=store
        ) as tools,
    ):
        yield partial(_work_now, tools=tools, control=control)


def _work_now(request: RunRequest, *, tools: Tools, control: RunControl) -> ExitCode:
    """Nobody will make another attempt at it."""
    try:
        with ExitStack() as afterwards:
            state = work(request, tools, control, afterwards, last_attempt=True).state
    except InterruptedRunError:
        click.echo("interrupted", err=True)
        return ExitCode.RUN_FAILED
    return ExitCode.OK if state is State.FINISHED else ExitCode.RUN_FAILED


def _interrupting(control: RunControl) -> Callable[[str], None]:
    """The first signal stops the run as soon as it is in a container; the second leaves everything as it is."""
    signals = itertools.count()

    def note(_name: str) -> None:
        if next(signals):
            os._exit(ExitCode.RUN_FAILED)
        control.interrupt()

    return note
