"""The workers: each a real daemon behind a proxy of its own, killed and started again as one life after another."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.place import Place
from tests.support.fault_proxy import FaultProxy
from tests.support.mounts import mounted_below
from tests.support.worker_process import WorkerProcess, worker
from worker.exit_codes import ExitCode


@dataclass
class Member:
    """One worker. `deaths` are its ends by kill -9 (epoch seconds), `gave_up` counts its lives that ended otherwise."""

    name: str
    folder: Path
    settings: dict[str, str]
    proxy: FaultProxy
    process: WorkerProcess | None = None
    deaths: list[float] = field(default_factory=list)
    gave_up: int = 0
    revived: int = 0
    _started_before: int = 0
    _life: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        if self.process is None:
            self.process = self._life.enter_context(worker(self.settings, self.folder, wait=False))
            self._started_before = self._starts(self.process)

    def revive(self) -> None:
        """As a service manager does: one that began while its engine was away has ended, and said so (exit code 3)."""
        if self.process and self.process.process.poll() == ExitCode.UNREACHABLE:
            self.revived += 1
            self._bury()
            self.start()

    def kill(self) -> bool:
        """False where it lay dead already."""
        if self.process is None:
            return False
        self.gave_up += self.process.process.poll() not in {None, ExitCode.UNREACHABLE}
        self.deaths.append(time.time())
        self.process.process.kill()
        self.process.process.wait()
        self._bury()
        return True

    def stop(self) -> int:
        """In good order; returns the exit code, 0 also of one that has only just begun and so heeds no signal yet."""
        assert self.process
        just_begun = self._starts(self.process) == self._started_before
        code = self.process.stop(60.0)
        self._bury()
        return 0 if just_begun and code == -signal.SIGTERM else code

    def leftovers(self) -> int:
        """Run folders and mounts."""
        temp = self.folder / "temp"
        return len(list((temp / "runs").iterdir())) + len(mounted_below(temp / "runs"))

    def bugs(self) -> list[str]:
        """What its log calls one."""
        lines = (self.folder / "worker.log").read_text().splitlines()
        return [line for line in lines if '"a bug' in line or '"unexpected error"' in line]

    @staticmethod
    def _starts(process: WorkerProcess) -> int:
        """How often it came so far, in all its lives: they share a log."""
        return len(process.events("worker started"))

    def _bury(self) -> None:
        self.process = None
        self._life.close()


@contextmanager
def fleet(place: Place, size: int, ttl: float) -> Iterator[list[Member]]:
    """So many workers of two slots each, not started yet; ended at the end."""
    with ExitStack() as stack:
        members = []
        for number in range(size):
            name = f"worker-{number}"
            proxy = stack.enter_context(FaultProxy(place.owner.broker_url))
            settings = {**_settings(place, ttl), "CODALAB_HOSTNAME": name, "BROKER_URL": proxy.url}
            members.append(Member(name, place.folder / name, settings, proxy))
        try:
            yield members
        finally:
            for member in members:
                member.kill()
            for point in reversed(mounted_below(place.folder)):  # of runs that were cut short, where chaos itself was
                subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def _settings(place: Place, ttl: float) -> dict[str, str]:
    return {
        "DOCKER_HOST": place.docker_host,
        "WORKER_LEASE_TTL": f"{ttl:g}s",
        "WORKER_CONCURRENCY": "2",
        "WORKER_CPU_LIMIT": "1",
        "WORKER_MEMORY_LIMIT": "512m",
        "WORKER_STOP_GRACE": "1s",
        "WORKER_PULL_POLICY": "if-not-present",
    }
