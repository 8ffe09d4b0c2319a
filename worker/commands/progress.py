"""Progress bars on a terminal; nothing at all in a pipe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.tools import Progress

_NAME, _BAR = 48, 20  # columns of a terminal; less where it is narrow


@contextmanager
def progress_bars(*, wanted: bool) -> Iterator[Progress | None]:
    """A bar for each pull, download and upload, while the block lasts; None where stderr is no terminal."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=_NAME))
    columns = (name, BarColumn(_BAR), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()
    # Lines on stdout go above the bars where both share a terminal; a stdout that is piped is none of rich's business.
    shared = sys.stdout.isatty()
    with Bars(*columns, console=Console(stderr=True, soft_wrap=True), transient=True, redirect_stdout=shared) as bars:

        def report(what: str, done: int, total: int) -> None:
            with lock:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total or None)
                bars.update(tasks[what], completed=done, total=total or None, visible=not total or done < total)

        yield report
