"""A worker that is well, as its monitor sees it, and a run of its."""

from __future__ import annotations

from worker.observers import RunInWork
from worker.watched import RunLoad, Watched


def run() -> RunInWork:
    return RunInWork("message-1", 17, 1, taken_at=1_000_000.0, time_limit=600.0)


def watched() -> Watched:
    return Watched(
        name="gpu-1",
        version="1.2.3",
        slots=1,
        busy=lambda: 0,
        leases=lambda: 0,
        links={"intake": lambda: True, "updates": lambda: True},
        engine=lambda: True,
        alive=lambda: True,
        free_disk=lambda: 100 << 30,
        least_disk=5 << 30,
        load=lambda _run: RunLoad(),
    )
