"""The daemon in a container of the very engine that it works with, started as docs/operating.md says."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from tests.support.engine_events import let_go

SOCKET = "/var/run/docker.sock"
TEMP_DIR = "/var/lib/codalab-worker"
INPUT_DIR = "/mnt/gates"
"""Where the worker sees the folder with the gates of `PrivateQueue`: elsewhere than the host has it."""


@dataclass(frozen=True)
class ContainerWorker:
    client: docker.DockerClient
    name: str

    @property
    def container(self) -> Container:
        return self.client.containers.get(self.name)

    def log(self) -> str:
        return self.container.logs().decode()

    def events(self, name: str) -> int:
        """How often it has logged that, in all its lives."""
        return sum(line.startswith("{") and json.loads(line)["event"] == name for line in self.log().splitlines())

    def wait_for_event(self, name: str, count: int = 1, timeout: float = 90.0) -> None:
        """Looks at the log again and again, for what follows it is told of the end of a process, and of no new one."""
        deadline = time.monotonic() + timeout
        while self.events(name) < count:
            assert self.container.status in {"running", "restarting"}, f"the worker has ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"no {name!r} in the log:\n{self.log()}"
            time.sleep(0.1)

    def wait_until_healthy(self) -> None:
        """Waits for the engine to say so."""
        filters = {"container": self.name, "event": "health_status"}
        events = self.client.events(since=int(time.time()) - 600, decode=True, filters=filters)
        for event in events:
            if event["status"] == "health_status: healthy":
                let_go(events)
                return

    def crash(self) -> None:
        """Kills its first process behind the engine's back, as the kernel does when memory runs out."""
        os.kill(self.container.attrs["State"]["Pid"], signal.SIGKILL)

    def exit_code(self) -> int:
        return int(self.container.wait()["StatusCode"])

    def remove(self) -> None:
        with suppress(NotFound):
            self.container.remove(force=True, v=True)


def env_file(settings: Mapping[str, str], path: Path, **more: str) -> Path:
    """The settings of a daemon on the host, for one in a container."""
    lines = {**settings, **more}
    del lines["DOCKER_HOST"]
    path.write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()))
    path.chmod(0o600)
    return path


def override(image: str, socket: str, temp_dir: Path, inputs: Path, name: str) -> dict[str, Any]:
    """What a test's compose file changes: names, places, and the host's network, where the real parts are."""
    volumes = [f"{socket}:{SOCKET}", f"{temp_dir}:{TEMP_DIR}", f"{inputs}:{INPUT_DIR}:ro"]
    worker = {
        "image": image,
        "container_name": name,
        "network_mode": "host",
        "volumes": volumes,
        "healthcheck": {"interval": "1s"},
    }
    return {"services": {"worker": worker}}
