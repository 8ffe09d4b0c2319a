"""A vhost of one test's own: its daemons, its messages, and what the broker still holds of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import Any
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel

from protocol.codalab import RUN_TASK
from tests.support.competition import ANSWER, Submission
from tests.support.rabbit import Owner
from tests.support.run_queue import RunQueue
from tests.support.site import UPDATE_WAIT, Site, Update
from tests.support.waiting import wait_until
from tests.support.worker_process import WorkerProcess, worker
from worker.broker.lease_terms import LeaseTerms
from worker.kept.folders import identity

QUEUE = "compute-worker"
_WAIT = 60.0


def gated(gate: str = "gate", then: str = ANSWER) -> str:
    """A participant's script that goes on only when `PrivateQueue.open_gate` says so."""
    return f"until [ -e /mnt/in/{gate} ]; do sleep 0.02; done; {then}"


@dataclass(frozen=True)
class PrivateQueue:
    """A queue of `owner`'s, worked by none but the daemons that the test starts here."""

    site: Site
    owner: Owner
    settings: Mapping[str, str]
    folder: Path

    def worker(self, **changes: str) -> AbstractContextManager[WorkerProcess]:
        """A daemon on this queue, connected. One started after another has the same temp dir and log."""
        return worker(self.settings_of(**changes), self.folder)

    def starting_worker(self, **changes: str) -> AbstractContextManager[WorkerProcess]:
        """One that has not come far yet, and may not come far."""
        return worker(self.settings_of(**changes), self.folder, wait=False)

    def open_gate(self, gate: str = "gate") -> None:
        """Lets `gated` scripts of that gate go on, now and later."""
        (self._input / gate).touch()

    def publish(self, submission: Submission) -> str:
        """As the site does; returns the message's id, which the run's containers carry."""
        return self.site.publish_run(submission.task_id, submission.task_args, vhost=self.owner.vhost)

    def publish_as_is(self, submission: Submission) -> None:
        """Without declaring anything: the site's own declaration would fail on a queue with arguments."""
        body = {"task": RUN_TASK, "id": str(uuid4()), "args": [submission.task_id, submission.task_args], "kwargs": {}}
        RunQueue(self.owner, QUEUE).publish(json.dumps(body).encode())

    def end_of(self, submission: Submission, timeout: float = UPDATE_WAIT) -> list[Update]:
        """All its updates, with whatever comes shortly after the terminal one."""
        self.site.updates_until_end(submission.task_id, timeout)
        return self.so_far(submission)

    def so_far(self, submission: Submission) -> list[Update]:
        """All its updates that come until nothing has come for a moment."""
        self.site.settle(0.3)
        return self.site.of(submission.task_id)

    def ready(self) -> int:
        """Messages in the queue that nobody holds."""
        return RunQueue(self.owner, QUEUE).count()

    def wait_ready(self, count: int) -> None:
        """Until so many messages are there: the broker takes back what it dead-letters in its own time, and untold."""
        wait_until(lambda: self.ready() == count, lambda: f"{self.ready()} messages are ready, and not {count}")

    def leased(self, worker: WorkerProcess, ttl: float = 120.0) -> int:
        """Messages in that worker's lease queue that nobody holds."""
        return RunQueue(self.owner, self.lease_queue(worker, ttl)).count()

    def lease_queue(self, worker: WorkerProcess, ttl: float) -> str:
        """The name of the queue that its leases are in."""
        return LeaseTerms(QUEUE, identity(worker.temp_dir, gethostname()), ttl).lease_queue.name

    @contextmanager
    def channel(self, vhost: str | None = None) -> Iterator[BlockingChannel]:
        """To look and to meddle, as the owner; in the own vhost unless another is named."""
        parameters = pika.URLParameters(self.owner.broker_url.replace("pyamqp:", "amqp:"))
        parameters.virtual_host = vhost or self.owner.vhost
        with closing(pika.BlockingConnection(parameters)) as connection:
            yield connection.channel()

    def settings_of(self, **changes: str) -> Mapping[str, str]:
        """Of any worker on this queue, wherever its folder is."""
        return {**self.settings, "WORKER_PARTICIPANT_INPUT_DIR": str(self._input), **changes}

    @property
    def _input(self) -> Path:
        folder = self.folder / "input"
        folder.mkdir(exist_ok=True)
        return folder


def statuses(updates: list[Update]) -> list[str]:
    return [update.status for update in updates]


def next_message(channel: BlockingChannel, queue: str) -> Any:
    """Takes the next message of a queue, as soon as there is one; returns its body, which is JSON."""
    for _method, _properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=_WAIT):
        channel.cancel()
        assert body, f"nothing came into {queue} within {_WAIT} s"
        return json.loads(body)
    raise AssertionError("consuming ended by itself")
