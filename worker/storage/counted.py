"""Bytes counted as they move, by the progress that is told of them."""

from __future__ import annotations

from worker.counters import Counters, Direction
from worker.storage.download import Progress


def counted(counters: Counters, direction: Direction, progress: Progress | None) -> Progress:
    """The progress of one transfer, which `counters` hear of, too.

    What is sent again after a break is counted again, but for the piece that it broke off in.
    """
    last = 0

    def heard(done: int, total: int) -> None:
        nonlocal last
        if done > last:
            counters.transferred(direction, done - last)
        last = done
        if progress:
            progress(done, total)

    return heard
