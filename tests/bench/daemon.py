"""A worker as a process: how soon it consumes, what memory it holds, what it burns while it has nothing to do.

All that a worker's process has started counts as part of it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.site import Site
from tests.support.worker_process import environment, worker

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_FAREWELL = 20.0  # seconds that a worker of another make has to end


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
    log: Path

    def memory(self) -> Memory:
        found = [(process.memory_full_info(), _peak(process.pid)) for process in self._processes()]
        return Memory(
            sum(now.rss for now, _ in found), sum(now.pss for now, _ in found), sum(peak for _, peak in found)
        )

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, to the nanosecond, where psutil's ticks are 10 ms."""
        # clock_getcpuclockid(3) of another process, as Linux has it
        return sum(time.clock_gettime((~process.pid << 3) | 2) for process in self._processes())

    def idle_cpu_percent(self, seconds: float) -> float:
        """Its share of one CPU over that time, in which nobody asks it for anything."""
        began, used = time.monotonic(), self.cpu_seconds()
        time.sleep(seconds)
        return 100 * (self.cpu_seconds() - used) / (time.monotonic() - began)

    def _processes(self) -> list[psutil.Process]:
        whole = psutil.Process(self.pid)
        return [whole, *whole.children(recursive=True)]


@contextmanager
def our_daemon(settings: Mapping[str, str], folder: Path, site: Site) -> Iterator[Daemon]:
    """`codalab-worker run` with these settings, from its start to its end."""
    site.make_queue(settings["WORKER_QUEUE"])
    began = time.perf_counter()
    with worker(settings, folder, wait=False) as running:
        site.wait_for_consumer(settings["WORKER_QUEUE"])
        start_up = time.perf_counter() - began
        running.wait_connected("intake", "updates", "control")  # the queue may have had other consumers
        yield Daemon(running.process.pid, start_up, running.log)


@contextmanager
def other_daemon(
    command: Sequence[str], settings: Mapping[str, str], folder: Path, site: Site, queue: str, patience: float
) -> Iterator[Daemon]:
    """A worker of any make, from its start to its end; what it writes goes to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    site.make_queue(queue)
    log = folder / "worker.log"
    began = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment(settings), stdout=file, stderr=file, start_new_session=True)
    try:
        try:
            site.wait_for_consumer(queue, patience)
        except TimeoutError as error:
            tail = log.read_text(errors="replace")[-2000:]
            raise TimeoutError(f"{shlex.join(command)}: {error}; it wrote:\n{tail}") from error
        yield Daemon(process.pid, time.perf_counter() - began, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started, which is of its process group."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_FAREWELL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _peak(pid: int) -> int:
    found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024
