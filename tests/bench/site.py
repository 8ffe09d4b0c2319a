"""The site's side of a run: publishes it as Celery would, and sees its updates the moment that they pass."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from protocol import celery_envelope
from protocol.codalab import RUN_TASK
from protocol.status import State
from tests.support.competition import Submission
from worker.broker.connection import basic_properties, ensure_queue
from worker.broker.updates import Update, read_update

UPDATES = "submission-updates"
_SILENCE = 120.0  # seconds without any update, after which a run is given up
_LOOK_AGAIN = 0.002


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from just before the publish to the arrival of its `running` and its terminal update."""

    running: float
    ended: float


class Site:
    """Publishes on one connection, and consumes a queue of its own on that (perhaps another) which updates come by."""

    def __init__(self, runs: BlockingConnection, updates: BlockingConnection) -> None:
        self._connection = runs
        self._channel = runs.channel()
        self._updates: BlockingChannel = updates.channel()
        self._updates.exchange_declare(UPDATES, "direct", durable=True)
        self._queue = self._updates.queue_declare("", exclusive=True).method.queue
        self._updates.queue_bind(self._queue, UPDATES, UPDATES)

    def make_queue(self, name: str) -> None:
        """Exchange, queue and binding for runs, as a site makes them."""
        ensure_queue(self._connection, name)

    def wait_for_consumer(self, queue: str, timeout: float = 60.0) -> None:
        """Returns when somebody consumes the queue. The broker announces that to nobody, so it is asked again."""
        deadline = time.monotonic() + timeout
        while not self._channel.queue_declare(queue, passive=True).method.consumer_count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody consumes {queue} after {timeout:g} s")
            self._connection.sleep(_LOOK_AGAIN)

    def publish(self, queue: str, submission: Submission) -> str:
        """Returns the message's id."""
        message, task = str(uuid4()), (submission.task_id, submission.task_args)
        envelope = celery_envelope.encode(RUN_TASK, task, task_id=message)
        self._channel.basic_publish(queue, queue, envelope.body, basic_properties(envelope.properties))
        return message

    def purge(self, queue: str) -> None:
        """Takes out what nobody has begun with."""
        self._channel.queue_purge(queue)

    def run(self, queue: str, submission: Submission) -> Latency:
        """Has that submission run by whoever consumes the queue; raises where it does not end well."""
        began = time.perf_counter()
        self.publish(queue, submission)
        seen = {}
        for update in self.updates({submission.task_id}):
            seen[update.status] = time.perf_counter() - began
            if update.terminal:
                break
        return Latency(seen[State.RUNNING], seen[State.FINISHED])

    def together(self, queue: str, submissions: Sequence[Submission]) -> list[float]:
        """Publishes all at once: seconds from just before that to the end of each, in the order of their ends."""
        began = time.perf_counter()
        for submission in submissions:
            self.publish(queue, submission)
        ends = self.ends({submission.task_id for submission in submissions})
        return [next(ends) - began for _ in submissions]

    def ends(self, tasks: Collection[int]) -> Iterator[float]:
        """The moment (`perf_counter`) of each end of a run of these task ids."""
        return (time.perf_counter() for update in self.updates(tasks) if update.terminal)

    def failure(self, task: int) -> str:
        """What the site is told of a run that is to fail."""
        return next(update.traceback for update in self._seen({task}) if update.status == State.FAILED)

    def updates(self, tasks: Collection[int]) -> Iterator[Update]:
        """As they come, for ever; raises where one of them tells a failure."""
        for update in self._seen(tasks):
            assert update.status != State.FAILED, f"run {update.task_id} failed: {update.traceback}"
            yield update

    def _seen(self, tasks: Collection[int]) -> Iterator[Update]:
        for method, _properties, body in self._updates.consume(
            self._queue, auto_ack=True, exclusive=True, inactivity_timeout=_SILENCE
        ):
            if method is None or body is None:
                raise TimeoutError(f"no update for {_SILENCE:g} s")
            update = read_update(body)
            if update and update.task_id in tasks:
                yield update


@contextmanager
def site(runs_url: str, updates_url: str = "") -> Iterator[Site]:
    """A site's side for as long as the block lasts; updates come by the same virtual host unless another is named.

    Its own connections have no heartbeat, for it is often away, measuring.
    """
    with ExitStack() as stack:
        runs = stack.enter_context(closing(_connected(runs_url)))
        updates = stack.enter_context(closing(_connected(updates_url))) if updates_url else runs
        yield Site(runs, updates)


def _connected(url: str) -> BlockingConnection:
    parameters = pika.URLParameters(url.replace("pyamqp://", "amqp://"))
    parameters.heartbeat = 0
    return BlockingConnection(parameters)
