"""The site's side of a run: publishes it as Celery would, and sees its updates the moment that they pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingConnection

from protocol import celery_envelope
from protocol.codalab import RUN_TASK
from protocol.status import State
from tests.support.competition import Submission
from worker.broker.connection import basic_properties, ensure_queue
from worker.broker.updates import Update, read_update

EXCHANGE = "submission-updates"
_SILENCE = 60.0  # seconds without any update, after which a run is given up
_LOOK_AGAIN = 0.002


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from just before the publish to the arrival of its `running` and its terminal update."""

    running: float
    ended: float


class Site:
    """Publishes on one channel, and consumes a queue of its own that is bound to the updates' exchange."""

    def __init__(self, connection: BlockingConnection) -> None:
        ensure_queue(connection, EXCHANGE)
        self._connection = connection
        self._channel = connection.channel()
        self._updates = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._updates, EXCHANGE, EXCHANGE)

    def make_queue(self, name: str) -> None:
        """Exchange, queue and binding for runs, as a site makes them."""
        ensure_queue(self._connection, name)

    def wait_for_consumer(self, queue: str, timeout: float = 30.0) -> None:
        """Returns when somebody consumes the queue. The broker announces that to nobody, so it is asked again."""
        deadline = time.monotonic() + timeout
        while not self._channel.queue_declare(queue, passive=True).method.consumer_count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody consumes {queue} after {timeout:g} s")
            self._connection.sleep(_LOOK_AGAIN)

    def pause(self, seconds: float) -> None:
        """Lets time pass while heartbeats go on."""
        self._connection.sleep(seconds)

    def run(self, queue: str, submission: Submission) -> Latency:
        """Has that submission run by whoever consumes the queue; raises where it does not end well."""
        task = (submission.task_id, submission.task_args)
        envelope = celery_envelope.encode(RUN_TASK, task, task_id=str(uuid4()))
        began = time.perf_counter()
        self._channel.basic_publish(queue, queue, envelope.body, basic_properties(envelope.properties))
        seen = {update.status: time.perf_counter() - began for update in self._until_end(submission.task_id)}
        assert submission.archive()["scores.txt"] == b"correct: 1\n", "the output is not what it should be"
        return Latency(seen[State.RUNNING], seen[State.FINISHED])

    def _until_end(self, task_id: int) -> Iterator[Update]:
        for method, _properties, body in self._channel.consume(
            self._updates, auto_ack=True, inactivity_timeout=_SILENCE
        ):
            if method is None or body is None:
                raise TimeoutError(f"run {task_id}: no update for {_SILENCE:g} s")
            update = read_update(body)
            if update and update.task_id == task_id:
                yield update
                assert update.status != State.FAILED, f"run {task_id} failed: {update.traceback}"
                if update.terminal:
                    return


@contextmanager
def site(settings: pika.ConnectionParameters) -> Iterator[Site]:
    """A site's side on a connection that lasts as long as the block."""
    with closing(BlockingConnection(settings)) as connection:
        yield Site(connection)
