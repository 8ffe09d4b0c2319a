"""The site of a fleet: publishes runs all at once, and hears every status the moment that it comes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingConnection

from protocol import celery_envelope
from protocol.codalab import RUN_TASK
from tests.fleet.place import RUNS, UPDATES, Place
from tests.support.competition import Submission
from tests.support.telling import Telling, telling_of
from worker.broker.connection import basic_properties, ensure_queue

_LOOK = 0.2  # seconds after which the end of a listener is noticed


class Site:
    """Publishes in the runs' vhost, and consumes the updates in its own; use `site` to make one."""

    def __init__(self, runs: BlockingConnection) -> None:
        ensure_queue(runs, RUNS)
        self._runs = runs
        self._channel = runs.channel()
        self._heard = threading.Condition()
        self._ends: dict[object, list[Telling]] = defaultdict(list)

    def publish(self, submissions: Iterable[Submission]) -> None:
        """As Celery does: one after another, not confirmed."""
        for one in submissions:
            made = celery_envelope.encode(RUN_TASK, (one.task_id, one.task_args), task_id=str(uuid4()))
            self._channel.basic_publish(RUNS, RUNS, made.body, basic_properties(made.properties))

    def pause(self, seconds: float) -> None:
        """Lets time pass while heartbeats go on."""
        self._runs.sleep(seconds)

    def wait(
        self, submissions: Iterable[Submission], seconds: float, say: Callable[[int], None] = lambda _ended: None
    ) -> None:
        """Until the end of each was told, so many seconds at most; `say` is told now and then how many were."""
        numbers, deadline = {one.task_id for one in submissions}, time.monotonic() + seconds
        while (ended := self._ended(numbers)) < len(numbers) and time.monotonic() < deadline:
            say(ended)
            self.pause(_LOOK)

    def ends(self, submission: Submission) -> list[Telling]:
        """The terminal statuses that were told of it."""
        with self._heard:
            return list(self._ends[submission.task_id])

    def _ended(self, numbers: set[int]) -> int:
        with self._heard:
            return len(numbers & self._ends.keys())

    def hear(self, body: bytes) -> None:
        """An update has come."""
        if told := telling_of(time.monotonic(), body):
            with self._heard:
                self._ends[told.update.task_id].append(told)


@contextmanager
def site(place: Place) -> Iterator[Site]:
    """One with two connections, as long as the block lasts."""
    with closing(_connect(place, place.owner.vhost)) as runs, closing(_connect(place, "/")) as updates:
        ensure_queue(updates, UPDATES)
        ours, done = Site(runs), threading.Event()
        listener = threading.Thread(target=_listen, args=(updates, ours.hear, done), name="site", daemon=True)
        listener.start()
        try:
            yield ours
        finally:
            done.set()
            listener.join()


def _connect(place: Place, vhost: str) -> BlockingConnection:
    parameters = pika.URLParameters(place.broker.url)
    parameters.virtual_host = vhost
    parameters.client_properties = {"connection_name": "site"}
    return BlockingConnection(parameters)


def _listen(connection: BlockingConnection, hear: Callable[[bytes], None], done: threading.Event) -> None:
    channel = connection.channel()
    for _method, _properties, body in channel.consume(UPDATES, auto_ack=True, inactivity_timeout=_LOOK):
        if body is not None:
            hear(body)
        elif done.is_set():
            return
