"""Looks at a worker from outside while it works: its memory, its disk, its containers, what others see of them."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
import psutil
from docker.errors import APIError

from sandbox.labels import ROLE, WORKER
from tests.support.engine_events import let_go
from tests.support.waiting import wait_until
from tests.support.worker_process import WorkerProcess
from worker.kept.folders import identity

_EVERY = 0.2  # seconds between two looks at memory and processes
_GONE = (psutil.Error, OSError)


class Witness:
    """Watches one worker while its block lasts."""

    def __init__(self, client: docker.DockerClient, worker: WorkerProcess) -> None:
        self._client = client
        self._worker = worker
        self._process = psutil.Process(worker.process.pid)
        self._done = threading.Event()
        label = f"{WORKER}={identity(worker.temp_dir, client.info()['Name'])}"
        filters = {"type": "container", "event": "start", "label": label}
        self._events = client.api.events(decode=True, filters=filters)
        self._threads = [threading.Thread(target=self._sample), threading.Thread(target=self._inspect)]
        self.at_rest = self._process.memory_info().rss
        """Bytes of memory before the first run."""
        self._cmdline = self._process.cmdline()
        self.most_memory = self.at_rest
        self.most_disk = 0
        self.inspected = 0
        self.texts: dict[str, bytes] = {}
        """What can be read by whoever looks at containers and processes, by where that is."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._events.close()
        for thread in self._threads:
            thread.join()
        let_go(self._events)

    def _sample(self) -> None:
        """What a process has cannot be told by anybody: it is looked at, again and again."""
        while not self._done.wait(_EVERY):
            with suppress(psutil.NoSuchProcess):
                self.most_memory = max(self.most_memory, self._process.memory_info().rss)
                for child in self._process.children(recursive=True):
                    self._note_child(child)
            self.most_disk = max(self.most_disk, allocated(self._worker.temp_dir))

    def _note_child(self, child: psutil.Process) -> None:
        """Once it is a program of its own: between fork and exec it looks like the worker."""
        with suppress(psutil.NoSuchProcess):
            if child.cmdline() != self._cmdline:
                self._note_process("the worker's child", child)

    def _inspect(self) -> None:
        for event in self._events:
            with suppress(APIError, psutil.Error):
                self._note_container(self._client.api.inspect_container(event["Actor"]["ID"]))

    def _note_container(self, found: dict[str, Any]) -> None:
        name = f"{found['Config']['Labels'][ROLE]}'s container {found['Id'][:12]}"
        self.texts[f"{name}: inspect"] = json.dumps(found).encode()
        self.inspected += 1
        if pid := found["State"]["Pid"]:
            first = psutil.Process(pid)
            for process in (first, *first.children(recursive=True)):
                self._note_process(name, process)

    def _note_process(self, whose: str, process: psutil.Process) -> None:
        for kind in ("cmdline", "environ"):
            with suppress(*_GONE):
                self.texts[f"{whose}: {kind} of {process.pid}"] = Path(f"/proc/{process.pid}/{kind}").read_bytes()


def allocated(folder: Path) -> int:
    """Bytes of the disk that a folder takes up; what goes away meanwhile counts for nothing."""
    total, folders = 0, [str(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    return total


def processes_with(text: bytes) -> list[int]:
    """Those that have it in their environment or command line, this one and those that it came from aside."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for pid in set(psutil.pids()) - own:
        with suppress(OSError):
            if any(text in Path(f"/proc/{pid}/{kind}").read_bytes() for kind in ("environ", "cmdline")):
                found.append(pid)
    return found


def wait_for_no_process(text: bytes) -> None:
    """A container is gone a moment before the kernel has buried its last process."""
    wait_until(lambda: not processes_with(text), lambda: processes_with(text))
