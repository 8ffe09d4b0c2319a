"""The daemon as an operator runs it: a subprocess with an environment, a log, signals and an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.wall import take_down
from tests.support import discretion

COMMAND = (sys.executable, "-m", "worker")
_PATIENCE = 60.0  # seconds for what a worker does at once on a machine that is not busy
_OURS = re.compile(r"^(WORKER_|SUBMISSION_|BROKER_|CODALAB_HOST|DOCKER_|USE_GPU|LOG_|DONT_)")


@dataclass
class WorkerProcess:
    process: subprocess.Popen[bytes]
    log: Path
    temp_dir: Path

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Of whole lines: the worker may be writing the last one just now."""
        whole = self.log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if name is None or line["event"] == name]

    def wait_for_event(self, name: str, timeout: float = _PATIENCE, *, count: int = 1) -> None:
        """The log is a file: looking at it again is the one way to follow it from outside."""
        self._wait(lambda: len(self.events(name)) >= count, repr(name), timeout)

    def wait_connected(self, *links: str, count: int = 1, timeout: float = _PATIENCE) -> None:
        """Until each of those links has been up that often."""
        self._wait(lambda: all(self._times_up(link) >= count for link in links), f"connection {links}", timeout)

    def _times_up(self, link: str) -> int:
        return sum(event["link"] == link for event in self.events("connected to broker"))

    def _wait(self, done: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            assert self.process.poll() is None, f"the worker has ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"no {what} in the log:\n{self.log.read_text()}"
            time.sleep(0.05)

    def stop(self, timeout: float = _PATIENCE) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, but for anything that would be a setting of the worker, and then these."""
    kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    return {**kept, "LOG_FORMAT": "json", **settings}


@contextmanager
def worker(
    settings: Mapping[str, str], folder: Path, *, wait: bool = True, within: Sequence[str] = ()
) -> Iterator[WorkerProcess]:
    """A daemon with its temp dir and log below `folder`; ended at the end, whatever it takes.

    `within` is a command that becomes it, whose words follow its own. Whatever it did, its log must hold no secret.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "worker.log"
    temp_dir = folder / "temp"
    env = environment({"SUBMISSION_TEMP_DIR": str(temp_dir), **settings})
    with log.open("ab") as file:
        process = subprocess.Popen([*within, *COMMAND, "run"], env=env, stderr=file, cwd=folder)
    running = WorkerProcess(process, log, temp_dir)
    try:
        if wait:
            running.wait_connected("intake", "updates")
        yield running
    finally:
        _end(process)
        take_down(temp_dir)  # one that was killed left its walls standing, which nobody could remove
    discretion.check_log(log, settings)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
