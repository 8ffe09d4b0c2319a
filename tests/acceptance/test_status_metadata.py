"""What each update tells of the host, as it lies on the wire, against updates captured from Celery."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.acceptance.conftest import Runner
from tests.support import captured
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.worker_process import WorkerProcess
from worker.demo.competition import zipped
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance

RES = zipped({"answer.txt": b"42"})
STATES = ("running", "finished", "failed")
MEASURES = ("virtual_memory_usage", "swap_memory_usage", "cpu_usage")


@dataclass(frozen=True)
class Message:
    properties: dict[str, Any]
    document: dict[str, Any]

    @property
    def update(self) -> dict[str, Any]:
        return dict(self.document["args"][1])

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.update["extra"]["metadata"])


class Wire:
    """A second queue on the exchange that updates go to."""

    def __init__(self, channel: BlockingChannel, exchange: str) -> None:
        self._channel = channel
        self._queue = str(channel.queue_declare("", exclusive=True).method.queue)
        channel.queue_bind(self._queue, exchange, exchange)

    def until_end(self, task_id: int) -> dict[str, Message]:
        """The messages of that run, by status."""
        seen: dict[str, Message] = {}
        for method, properties, body in self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=30):
            assert method, f"no end of {task_id} came; seen: {list(seen)}"
            document = json.loads(body or b"")
            if document["args"][0] == task_id:
                message = Message(dict(vars(properties)), document)
                seen[message.update["status"]] = message
                if message.update["status"] != "running":
                    break
        return seen


@pytest.fixture(scope="module")
def wire(parts: Parts, site: Site) -> Iterator[Wire]:
    with closing(pika.BlockingConnection(pika.URLParameters(parts.broker_url.replace("pyamqp:", "amqp:")))) as found:
        yield Wire(found.channel(), site.updates_queue)


def told(wire: Wire, run: Runner, submission: Submission) -> dict[str, Message]:
    run.publish(submission)
    return wire.until_end(submission.task_id)


def shape(value: object) -> object:
    """Keys as they are, and for each value its JSON type."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value)


def measured(fixture: dict[str, Any], *, ended: bool) -> dict[str, Any]:
    """A captured document with the measures at the end, which its worker had not made, as at the beginning."""
    whole: dict[str, Any] = json.loads(json.dumps(fixture))
    metadata = whole["args"][1]["extra"]["metadata"]
    for measure in MEASURES if ended else ():
        metadata[f"end_{measure}"] = metadata[f"beginning_{measure}"]
    return whole


@pytest.fixture(scope="module")
def messages(
    wire: Wire, site: Site, owner: Owner, shared_worker: WorkerProcess, competition: Competition
) -> dict[str, Message]:
    """One of each state."""
    run = Runner(site, owner, shared_worker)
    failed = told(wire, run, competition.submission(bundles={"program.zip": zipped({"metadata": b"command: 'false'"})}))
    return failed | told(wire, run, competition.submission(bundles={"res.zip": RES}))


@pytest.mark.parametrize("state", STATES)
def test_updates_have_the_keys_and_types_of_the_captured_ones(messages: dict[str, Message], state: str) -> None:
    fixture = captured.load(f"update-{state}-celery3.1.25-proto1").document
    assert shape(messages[state].document) == shape(measured(fixture, ended=state != "running"))


@pytest.mark.parametrize("state", STATES)
def test_updates_have_the_properties_of_the_captured_ones(messages: dict[str, Message], state: str) -> None:
    fixture = captured.load(f"update-{state}-celery3.1.25-proto1")
    given = {key: value for key, value in messages[state].properties.items() if value is not None}
    assert given.pop("correlation_id") == messages[state].document["id"]
    assert given == {
        key: value for key, value in fixture.properties.items() if key not in {"correlation_id", "reply_to"}
    } | {"headers": {}}


@pytest.mark.parametrize("state", STATES)
def test_the_host_is_named_and_measured_at_the_beginning(messages: dict[str, Message], state: str) -> None:
    metadata = messages[state].metadata
    assert metadata["hostname"] == socket.gethostname()
    memory = json.loads(metadata["beginning_virtual_memory_usage"])
    assert memory["total"] > memory["available"] > 0
    assert 0 < memory["percent"] < 100
    assert json.loads(metadata["beginning_swap_memory_usage"]).keys() >= {"total", "used", "percent"}
    assert 0 <= metadata["beginning_cpu_usage"] <= 100


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_it_is_measured_again_at_the_end(messages: dict[str, Message], state: str) -> None:
    metadata = messages[state].metadata
    assert json.loads(metadata["end_virtual_memory_usage"])["total"] > 0
    assert json.loads(metadata["end_swap_memory_usage"]).keys() >= {"total", "used", "percent"}
    assert 0 <= metadata["end_cpu_usage"] <= 100
    beginning = {key: value for key, value in metadata.items() if key.startswith("beginning_")}
    assert metadata["end_virtual_memory_usage"] != beginning["beginning_virtual_memory_usage"]


def test_the_time_of_ingestion_is_told_in_seconds(wire: Wire, run: Runner, competition: Competition) -> None:
    submission = competition.submission(
        bundles={"ingestion.zip": zipped({"metadata": b"command: sleep 0.7\n"}), "res.zip": RES},
        documents={"run.txt": {"program": "program.zip", "input": "input.txt", "ingestion_program": "ingestion.zip"}},
    )
    seen = told(wire, run, submission)
    assert seen["running"].metadata["ingestion_program_duration"] is None
    assert 0.5 <= seen["finished"].metadata["ingestion_program_duration"] < 10
