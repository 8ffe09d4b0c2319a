"""The workers of a fleet: one on each host of the network, as an operator would start it there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil

from tests.fleet.place import RUNS, Place
from tests.support.worker_process import WorkerProcess, worker

_LINKS = ("intake", "updates", "control")
_START = 120.0  # seconds, for a whole fleet at once on two cores
_STOP = 60.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one worker: bytes resident, and its share of what it has in common with others; seconds of CPU so far."""

    resident: int
    proportional: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Member:
    """One worker and its host's name, which the site is told."""

    name: str
    process: WorkerProcess

    def usage(self) -> Usage:
        """As of now."""
        process = psutil.Process(self.process.process.pid)
        memory, spent = process.memory_full_info(), process.cpu_times()
        return Usage(memory.rss, memory.pss, spent.user + spent.system)


def settings(place: Place) -> dict[str, str]:
    """Of every worker: one slot, everything as in production but for what an engine would do besides a run."""
    return {
        "BROKER_URL": place.owner.broker_url,
        "WORKER_QUEUE": RUNS,
        "DOCKER_HOST": place.docker_host,
        "WORKER_PULL_POLICY": "if-not-present",  # the image is there: no registry is asked
        "WORKER_ORGANISER_NETWORK": "none",  # setting up a network takes an engine as long as all the rest
        "WORKER_MEMORY_LIMIT": "256m",
        "WORKER_CPU_LIMIT": "1",
    }


@contextmanager
def members(place: Place) -> Iterator[list[Member]]:
    """All of them connected; ended side by side at the end."""
    with ExitStack() as stack:
        fleet = []
        try:
            for host in place.network.hosts:
                name = f"host-{host.number + 1}"
                own = {**settings(place), "CODALAB_HOSTNAME": name}
                process = stack.enter_context(worker(own, place.folder / name, wait=False, within=host.enter))
                fleet.append(Member(name, process))
            for member in fleet:
                member.process.wait_connected(*_LINKS, timeout=_START)
            yield fleet
        finally:
            stop(fleet)


def stop(fleet: list[Member]) -> list[int]:
    """In good order; their exit codes."""
    for member in fleet:
        if member.process.process.poll() is None:
            member.process.process.send_signal(signal.SIGTERM)
    return [member.process.process.wait(_STOP) for member in fleet]
