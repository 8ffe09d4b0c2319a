"""A real Flower of one virtual host, as operators of Celery sites run it: spoken to by its API."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.waiting import wait_until

_PATIENCE = 60.0
_LOOPBACK = "127.0.0.1"


class Flower:
    """Nothing tells from outside what Flower has come to know: it is asked again until it does."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        reply = requests.get(f"{self.url}/api/{path}", params=query, timeout=_PATIENCE)
        reply.raise_for_status()
        return reply.json()

    def post(self, path: str, **query: str) -> Any:
        reply = requests.post(f"{self.url}/api/{path}", params=query, timeout=_PATIENCE)
        reply.raise_for_status()
        return reply.json()

    def page(self, path: str) -> str:
        reply = requests.get(f"{self.url}/{path}", timeout=_PATIENCE)
        reply.raise_for_status()
        return reply.text

    def state_of(self, task: str) -> str:
        return str(self.get("tasks").get(task, {}).get("state"))

    def wait_for_state(self, task: str, state: str) -> dict[str, Any]:
        """All that Flower knows of that task, once it is in that state."""
        wait_until(
            lambda: self.state_of(task) == state,
            lambda: f"Flower shows {task} not as {state}, but as {self.state_of(task)}",
        )
        info = self.get(f"task/info/{task}")
        assert isinstance(info, dict)
        return info

    def wait_for_worker(self, node: str, *, online: bool) -> None:
        wait_until(
            lambda: self.get("workers", status="true").get(node) is online,
            lambda: f"Flower does not show {node} online: {online}",
        )


@contextmanager
def flower(broker_url: str, folder: Path) -> Iterator[Flower]:
    """One that answers, until the end of the block."""
    with socket.socket() as free:
        free.bind((_LOOPBACK, 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    command = [sys.executable, "-m", "celery", f"--broker={broker_url}", "flower"]
    options = [f"--address={_LOOPBACK}", f"--port={port}", "--inspect-timeout=5000"]
    with (folder / "flower.log").open("wb") as log:
        process = subprocess.Popen([*command, *options], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        running = Flower(f"http://{_LOOPBACK}:{port}")
        wait_until(lambda: _answers(running, process), lambda: "Flower does not answer")
        yield running
    finally:
        process.kill()  # it keeps nothing
        process.wait()


def _answers(running: Flower, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Flower has ended"
    try:
        running.get("workers")
    except requests.ConnectionError:
        return False
    return True
