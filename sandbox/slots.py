"""What the runs of one worker have to themselves while they compute: each its GPUs and its CPUs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.cancellation import Cancellation
from sandbox.cpus import cpus_of
from sandbox.gpu import GpuRequest


@dataclass(frozen=True, slots=True)
class Share:
    """`gpus` None means none; `cpuset` is in the kernel's list format (`0-3,8`), empty for time on any CPU."""

    gpus: GpuRequest | None = None
    cpuset: str = ""

    def overlaps(self, other: Share) -> bool:
        """Whether a run that has this one takes something away from a run that has the other."""
        return _same_gpus(self.gpus, other.gpus) or not cpus_of(self.cpuset).isdisjoint(cpus_of(other.cpuset))


class Slots:
    """Deals shares out to runs, each to one at a time: first come, first served. Safe for several threads.

    Shares must not overlap each other; `len` is how many runs can be worked side by side.
    """

    def __init__(self, shares: Sequence[Share]) -> None:
        self._shares = tuple(shares)
        self._taken: set[int] = set()
        self._reserved: dict[str, Share] = {}
        self._others: list[Share] = []  # of runs that an earlier process began, by its own settings
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._shares)

    def reserve(self, holder: str, share: Share) -> None:
        """Keeps that for a run whose containers have it already, until it takes or releases it."""
        with self._changed:
            self._reserved[holder] = share
            self._others.append(share)

    def release(self, holder: str) -> None:
        """Gives back what is still reserved for that run, if anything is."""
        with self._changed:
            share = self._reserved.pop(holder, None)
        if share is not None:
            self._give_back_reserved(share)

    @contextmanager
    def take(self, holder: str = "", cancellation: Cancellation | None = None) -> Iterator[Share]:
        """A share for one run, waiting for its turn and for one to be free; it is given back after the block.

        Where one is reserved for `holder` it has that, at once. Raises `Cancelled` where the wait was cancelled.
        """
        with self._changed:
            reserved = self._reserved.pop(holder, None)
        if reserved is not None:
            try:
                yield reserved
            finally:
                self._give_back_reserved(reserved)
            return
        place = self._claim(cancellation or Cancellation())
        try:
            yield self._shares[place]
        finally:
            self._give_back(place)

    def _claim(self, cancellation: Cancellation) -> int:
        turn = object()
        with cancellation.stopping(self._wake), self._changed:
            self._line.append(turn)
            try:
                while self._line[0] is not turn or (place := self._free()) is None:
                    cancellation.check()
                    self._changed.wait()
                self._taken.add(place)
            finally:
                self._line.remove(turn)
                self._changed.notify_all()
        return place

    def _free(self) -> int | None:
        places = (place for place in range(len(self._shares)) if place not in self._taken)
        return next((place for place in places if not any(map(self._shares[place].overlaps, self._others))), None)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _give_back(self, place: int) -> None:
        with self._changed:
            self._taken.remove(place)
            self._changed.notify_all()

    def _give_back_reserved(self, share: Share) -> None:
        with self._changed:
            self._others.remove(share)
            self._changed.notify_all()


def _same_gpus(one: GpuRequest | None, other: GpuRequest | None) -> bool:
    if one is None or other is None:
        return False
    return not (one.ids and other.ids) or not set(one.ids).isdisjoint(other.ids)
