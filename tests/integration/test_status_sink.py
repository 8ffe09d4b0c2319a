"""Updates on a real broker: each in its turn, and none that is withdrawn."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import closing
from uuid import uuid4

import pika
import pytest

from protocol.broker_url import parse
from protocol.status import RunMetadata, State, StatusUpdate
from tests.support.waiting import PATIENCE
from worker.broker.connection import parameters
from worker.broker.status_sink import AmqpStatusSink
from worker.broker.updates import WithdrawnError, read_update
from worker.demo.parts import Parts


def update(task: int) -> StatusUpdate:
    return StatusUpdate(task, State.FINISHED, RunMetadata("worker"), secret="secret")


def refused(reason: str) -> None:
    raise AssertionError(reason)


def test_what_an_update_is_provided_with_is_asked_when_its_turn_has_come() -> None:
    url, queue = Parts.from_environment().broker_url, f"submission-updates.{uuid4().hex[:8]}"
    settings = parameters(parse(url, tls=False), name="test", ca_file=None, verify=True)
    sink, ours = AmqpStatusSink(settings, queue, on_refused=refused), True
    told: list[Future[None]] = [sink.send(update(1), lambda: True), sink.send(update(2), lambda: ours)]
    ours = False
    told.append(sink.send(update(3), lambda: True))
    sink.start()
    told[2].result(PATIENCE)
    with pytest.raises(WithdrawnError):
        told[1].result(PATIENCE)
    told[0].result(PATIENCE)
    sink.close()
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        bodies = [channel.basic_get(queue, auto_ack=True)[2] for _ in range(3)]
        channel.queue_delete(queue)
        channel.exchange_delete(queue)
    tasks = [seen.task_id for body in bodies if body and (seen := read_update(body))]
    assert tasks == [1, 3]
