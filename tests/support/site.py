"""A CodaLab site, as far as a worker sees it: real Celery on both ends of real RabbitMQ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

UPDATE_WAIT = 60.0


@dataclass(frozen=True)
class Update:
    task_id: object
    status: str
    secret: str
    metadata: dict[str, Any]
    traceback: str


class Site:
    """Publishes runs and collects updates. One consumer serves a whole test session."""

    def __init__(self, broker_url: str, updates_queue: str, *, task_protocol: int = 2) -> None:
        self.broker_url = broker_url
        self.updates_queue = updates_queue
        self._lines: SimpleQueue[Update] = SimpleQueue()
        self._seen: list[Update] = []
        self._app = Celery("publisher", broker=broker_url, set_as_current=False)
        self._app.conf.task_protocol = task_protocol

    def publish_run(
        self, task_id: int, task_args: dict[str, Any], *, queue: str = "compute-worker", vhost: str | None = None
    ) -> str:
        """As the site does it: send_task with a soft limit, on a connection to the queue's vhost."""
        target = Queue(queue, Exchange(queue, type="direct"), routing_key=queue, durable=True)
        with self._app.connection_for_write() as connection:
            if vhost:
                connection.virtual_host = vhost
            sent = self._app.send_task(
                "compute_worker_run",
                args=(task_id, task_args),
                queue=target,
                soft_time_limit=int(task_args.get("execution_time_limit") or 600) + 3600,
                connection=connection,
                ignore_result=True,
            )
        return str(sent.id)

    def updates_until_end(self, task_id: int, timeout: float = UPDATE_WAIT) -> list[Update]:
        """Every update of that run, in order, up to the terminal one."""
        self._wait(lambda: any(u.status in {"finished", "failed"} for u in self.of(task_id)), timeout)
        return self.of(task_id)

    def wait_for(self, task_id: int, status: str, timeout: float = UPDATE_WAIT) -> Update:
        self._wait(lambda: any(u.status == status for u in self.of(task_id)), timeout)
        return next(u for u in self.of(task_id) if u.status == status)

    def settle(self, seconds: float = 0.5) -> None:
        """Takes in whatever still comes within that time: for proofs that nothing comes."""
        try:
            while True:
                self._seen.append(self._lines.get(timeout=seconds))
        except Empty:
            return

    def of(self, task_id: object) -> list[Update]:
        return [update for update in self._seen if update.task_id == task_id]

    def _wait(self, done: Callable[[], bool], timeout: float) -> None:
        while not done():
            try:
                self._seen.append(self._lines.get(timeout=timeout))
            except Empty:
                raise TimeoutError(f"no such update within {timeout} s; seen: {self._seen[-5:]}") from None

    def _read(self, pipe: int) -> None:
        with os.fdopen(pipe) as lines:
            for line in lines:
                document = json.loads(line)
                extra = document.get("extra") or {}
                self._lines.put(
                    Update(
                        document["task_id"],
                        document["status"],
                        document["secret"],
                        extra.get("metadata") or {},
                        extra.get("traceback") or "",
                    )
                )

    @contextmanager
    def consuming(self) -> Iterator[None]:
        """The site's worker process, from its first sign of life to its end."""
        reader, writer = os.pipe()
        environment = {
            **os.environ,
            "SITE_PIPE": str(writer),
            "SITE_QUEUE": self.updates_queue,
            "SITE_BROKER_URL": self.broker_url,
        }
        command = [sys.executable, "-m", "celery", "-A", "tests.support.site_app", "worker", "-l", "WARNING"]
        name = ["-n", f"{self.updates_queue}@%h"]  # of two nodes of one name the broker refuses the second
        options = [*name, "-P", "solo", "--without-mingle", "--without-gossip", "--without-heartbeat"]
        process = subprocess.Popen([*command, *options], env=environment, pass_fds=(writer,))
        os.close(writer)
        thread = Thread(target=self._read, args=(reader,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            process.kill()  # it holds nothing, and its orderly end takes eight seconds
            process.wait(20)
            thread.join(5)
