from __future__ import annotations

from worker.counters import Direction, NoCounters
from worker.storage.counted import counted


class Tally(NoCounters):
    def __init__(self) -> None:
        self.moved: list[tuple[Direction, int]] = []

    def transferred(self, direction: Direction, size: int) -> None:
        self.moved.append((direction, size))


def test_bytes_are_counted_as_they_come_and_whoever_listens_hears_it_too() -> None:
    tally, heard = Tally(), list[tuple[int, int]]()
    progress = counted(tally, "up", lambda *at: heard.append(at))
    progress(10, 100)
    progress(100, 100)
    assert heard == [(10, 100), (100, 100)]
    assert tally.moved == [("up", 10), ("up", 90)]


def test_what_is_sent_again_is_counted_again_but_for_one_piece() -> None:
    tally = Tally()
    progress = counted(tally, "down", None)
    for position in (10, 60, 10, 60, 100):
        progress(position, 100)
    assert sum(size for _, size in tally.moved) == 60 + 50 + 40
