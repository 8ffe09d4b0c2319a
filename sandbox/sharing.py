"""Work that several want at once, done once for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sandbox.cancellation import Cancellation

T = TypeVar("T")
Work = Callable[[Cancellation], T]
"""Done on a thread of its own; cancelled when nobody waits for it any more."""

_REMEMBERED = 64  # results kept for whoever began before them


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    began: float
    cancellation: Cancellation
    future: Future[T] = field(default_factory=Future)
    waiting: int = 0

    def serves(self, since: float) -> bool:
        """Whether its result, or its failure while it lasts, is one for who began at that time."""
        return self.began >= since

    @property
    def failed(self) -> bool:
        return self.future.done() and bool(self.future.exception())

    def do(self, work: Work[T]) -> None:
        try:
            self.future.set_result(work(self.cancellation))
        except BaseException as error:  # noqa: BLE001 -- it is raised where somebody waits
            self.future.set_exception(error)


class Shared(Generic[T]):
    """Results by key. A result serves whoever began before the work on it did, and nobody who began later.

    So what somebody changed before they asked is never answered with what was there before; who comes while work is
    under way waits for it, and then shares one more turn, which finds most of it done, with all who came meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job[T]] = {}

    def result(self, key: str, work: Work[T], *, since: float, cancellation: Cancellation) -> T:
        """The result of `work`, or of the same work for others; `since` is of the monotonic clock.

        Raises what the work raised, or `Cancelled`, which leaves the others' work alone.
        """
        while True:
            job = self._join(key, work, since)
            try:
                _wait(job.future, cancellation)
            finally:
                self._leave(key, job)
            if job.serves(since):
                return job.future.result()

    def _join(self, key: str, work: Work[T], since: float) -> _Job[T]:
        with self._lock:
            job = self._jobs.get(key)
            if job is None or (job.future.done() and (job.failed or not job.serves(since))):
                job = self._begin(key, work)
            job.waiting += 1
            return job

    def _begin(self, key: str, work: Work[T]) -> _Job[T]:
        job = _Job[T](time.monotonic(), Cancellation())
        self._jobs.pop(key, None)
        for old in [name for name, one in self._jobs.items() if one.future.done()][: -_REMEMBERED or None]:
            del self._jobs[old]
        self._jobs[key] = job
        thread = threading.Thread(target=copy_context().run, args=(job.do, work), name=f"shared-{key}", daemon=True)
        thread.start()
        return job

    def _leave(self, key: str, job: _Job[T]) -> None:
        with self._lock:
            job.waiting -= 1
            if job.waiting or job.future.done():
                return
            if self._jobs.get(key) is job:
                del self._jobs[key]
        job.cancellation.cancel()


def _wait(future: Future[T], cancellation: Cancellation) -> None:
    over = threading.Event()
    future.add_done_callback(lambda _future: over.set())
    with cancellation.stopping(over.set):
        over.wait()
    cancellation.check()
