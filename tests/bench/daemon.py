"""The daemon as a process: how soon it consumes, what memory it holds, what it burns while it has nothing to do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.latency import Site
from tests.support.worker_process import worker

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `pss` shares out what other processes (a second worker, this one) have mapped too, `rss` does not."""

    rss: int
    pss: int
    peak_rss: int


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that consumes; `start_up` is seconds from the start of its process to that."""

    pid: int
    start_up: float

    def memory(self) -> Memory:
        now = psutil.Process(self.pid).memory_full_info()
        peak = _PEAK.search(Path(f"/proc/{self.pid}/status").read_text())
        assert peak
        return Memory(now.rss, now.pss, int(peak[1]) * 1024)

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, to the nanosecond, where psutil's ticks are 10 ms."""
        return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3) of another process, as Linux has it

    def idle_cpu_percent(self, site: Site, seconds: float) -> float:
        """Its share of one CPU over that time, in which nobody asks it for anything."""
        began, used = time.monotonic(), self.cpu_seconds()
        site.pause(seconds)
        return 100 * (self.cpu_seconds() - used) / (time.monotonic() - began)


@contextmanager
def daemon(settings: Mapping[str, str], folder: Path, site: Site) -> Iterator[Daemon]:
    """`codalab-worker run` with these settings, from its start to its end."""
    site.make_queue(settings["WORKER_QUEUE"])
    began = time.perf_counter()
    with worker(settings, folder, wait=False) as running:
        site.wait_for_consumer(settings["WORKER_QUEUE"])
        start_up = time.perf_counter() - began
        running.wait_connected("updates", "control")  # the other connections are up, too
        yield Daemon(running.process.pid, start_up)
