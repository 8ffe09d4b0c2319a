"""The control connection on a real broker: nonsense, deletions, permissions, lost connections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from queue import SimpleQueue
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from protocol import broker_url
from protocol.celery_control import INBOX_ARGUMENTS, REPLY_EXCHANGE, REQUEST_EXCHANGE, inbox, node_name
from protocol.celery_events import EVENT_EXCHANGE, LamportClock
from tests.support import broker_faults
from tests.support.celery_client import CeleryClient, celery_client
from tests.support.fault_proxy import FaultProxy
from tests.support.rabbit import Management, Owner
from tests.support.waiting import wait_until
from worker.broker import connection, remote_control
from worker.broker.control_commands import Commands
from worker.broker.events import WorkerEvents
from worker.broker.node_facts import NodeFacts, broker_info
from worker.broker.remote_control import RemoteControl
from worker.demo.parts import Parts
from worker.observers import RunInWork

pytestmark = pytest.mark.integration

NODE = node_name("compute-1")
RUN = RunInWork("an-id", 42, 1, 1795289668.5, 600.0)
_PATIENCE = 40.0


class Runs:
    def __init__(self) -> None:
        self.cancelled: SimpleQueue[str] = SimpleQueue()

    def active(self) -> tuple[RunInWork, ...]:
        return ()

    def cancel(self, message_id: str) -> bool:
        self.cancelled.put(message_id)
        return False

    def revoked(self) -> tuple[str, ...]:
        return ()


class Node:
    """A worker's control connection with nothing behind it."""

    def __init__(self, url: str) -> None:
        self.runs, self.events = Runs(), WorkerEvents()
        clock, address = LamportClock(), broker_url.parse(url)
        parameters = connection.parameters(address, name="test control", ca_file=None, verify=True)
        facts = NodeFacts("compute-worker", 1, broker_info(parameters))
        commands = Commands(facts, self.runs, self.events, clock, lambda: None)
        names = (NODE, node_name("compute-1", "another"))
        self.control = RemoteControl(parameters, names, commands, self.events, clock, pid=facts.pid)


@contextmanager
def node(url: str) -> Iterator[Node]:
    it = Node(url)
    it.control.start()
    try:
        yield it
    finally:
        it.control.close()


class Monitor:
    """Hears every event of the virtual host, as Flower does."""

    def __init__(self, channel: BlockingChannel) -> None:
        channel.exchange_declare(EVENT_EXCHANGE, "topic", durable=True)
        self._queue = str(channel.queue_declare("", exclusive=True).method.queue)
        channel.queue_bind(self._queue, EVENT_EXCHANGE, "#")
        self._channel = channel

    def wait_for(self, kind: str) -> list[dict[str, Any]]:
        """All events up to the next of that kind."""
        seen: list[dict[str, Any]] = []
        for _method, properties, body in self._channel.consume(self._queue, inactivity_timeout=_PATIENCE):
            assert body is not None, f"no {kind} within {_PATIENCE} s, but {seen}"
            assert properties is not None
            seen.append(json.loads(body))
            if seen[-1]["type"] == kind:
                break
        self._channel.cancel()
        return seen


@pytest.fixture(scope="module")
def management() -> Management:
    parts = Parts.from_environment()
    return Management(parts.broker_api, parts.broker_url)


@pytest.fixture
def owner(management: Management) -> Iterator[Owner]:
    with management.owner() as owner:
        yield owner


@pytest.fixture
def remote(owner: Owner) -> Iterator[CeleryClient]:
    with celery_client(owner.broker_url) as client:
        yield client


@pytest.fixture
def channel(owner: Owner) -> Iterator[BlockingChannel]:
    parameters = pika.URLParameters(owner.broker_url.replace("pyamqp:", "amqp:"))
    with closing(pika.BlockingConnection(parameters)) as connection:
        yield connection.channel()


@pytest.fixture
def monitor(channel: BlockingChannel) -> Monitor:
    return Monitor(channel)


def answers(remote: CeleryClient) -> None:
    """Until it listens a request reaches nobody: it is asked again."""
    assert any(NODE in remote.ping_all(0.5) for _ in range(int(_PATIENCE / 0.5)))


NONSENSE = [
    b"",
    b"\xff",
    b"[" * 10_000,
    b"[]",
    b'{"method": 5}',
    b'{"method": "revoke", "arguments": []}',
    b'{"method": "revoke", "arguments": {"task_id": {"a": "b"}, "terminate": true}}',
    json.dumps({"method": "ping", "reply_to": {"exchange": "", "routing_key": "loot"}}).encode(),
    json.dumps({"method": "ping", "reply_to": {"exchange": REPLY_EXCHANGE, "routing_key": "x" * 300}}).encode(),
    json.dumps({"method": "ping", "destination": ["celery@somebody"], "ticket": {}}).encode(),
]


def test_nonsense_is_ignored_and_the_worker_listens_on(
    owner: Owner, remote: CeleryClient, channel: BlockingChannel
) -> None:
    with node(owner.broker_url) as it:
        answers(remote)
        channel.queue_declare("loot", exclusive=True)
        for body in NONSENSE:
            for headers in ({}, {"clock": "late"}, {"clock": 2**62}):
                channel.basic_publish(REQUEST_EXCHANGE, "", body, pika.BasicProperties(headers=dict(headers)))
        assert remote.ask(NODE, "ping") == {"ok": "pong"}
        assert remote.ask(NODE, "clock")["clock"] < 1000
        assert channel.queue_declare("loot", passive=True).method.message_count == 0
        assert it.runs.cancelled.empty()


def test_events_come_in_order_with_the_name_of_the_node(owner: Owner, monitor: Monitor) -> None:
    with node(owner.broker_url) as it:
        monitor.wait_for("worker-online")
        it.events.run_taken(RUN)
        it.events.run_stage(RUN, "staging")
        told = monitor.wait_for("task-started")
    told += monitor.wait_for("worker-offline")
    assert [event["type"] for event in told if event["type"] != "worker-heartbeat"] == [
        "task-received",
        "task-started",
        "worker-offline",
    ]
    assert {event["hostname"] for event in told} == {NODE}
    clocks = [event["clock"] for event in told]
    assert clocks == sorted(set(clocks))


def test_an_inbox_that_is_deleted_is_made_anew(owner: Owner, remote: CeleryClient) -> None:
    with node(owner.broker_url) as it:
        answers(remote)
        it.control._link.call(lambda: _delete_inbox(it.control))
        answers(remote)


def _delete_inbox(control: RemoteControl) -> None:
    """By its own connection: nobody else but rabbitmqctl can."""
    assert control._inbox
    control._inbox.queue_delete(inbox(NODE))


def test_an_inbox_is_transient_and_exclusive(owner: Owner, management: Management, remote: CeleryClient) -> None:
    """RabbitMQ 4.3 takes no transient queue that is not exclusive: 541, and the end of the connection."""
    with node(owner.broker_url):
        answers(remote)
        queue = management.get(f"queues/{owner.vhost}/{inbox(NODE)}")
    assert isinstance(queue, dict)
    assert (queue["durable"], queue["exclusive"], queue["auto_delete"]) == (False, True, True)


def _by_the_network(proxy: FaultProxy, _management: Management, _owner: Owner) -> None:
    proxy.reset()


def _by_the_broker(proxy: FaultProxy, management: Management, owner: Owner) -> None:
    del proxy
    broker_faults.close_connections(management, owner)


@pytest.mark.parametrize("lose", [_by_the_network, _by_the_broker])
def test_after_a_lost_connection_it_is_the_same_node_and_no_event_is_missing(
    owner: Owner, management: Management, lose: Callable[[FaultProxy, Management, Owner], None]
) -> None:
    with (
        bystander(management, owner) as (channel, remote),
        FaultProxy(owner.broker_url) as proxy,
        node(proxy.url) as it,
    ):
        monitor = Monitor(channel)
        answers(remote)
        proxy.refuse()
        lose(proxy, management, owner)
        assert proxy.refused.wait(_PATIENCE)
        it.events.run_taken(RUN)
        proxy.let_through()
        assert monitor.wait_for("task-received")[-1]["hostname"] == NODE
        answers(remote)


def test_a_name_that_a_dead_connection_holds_is_waited_for(
    owner: Owner, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_control, "PERIOD", 0.2)
    with bystander(management, owner) as (channel, remote), FaultProxy(owner.broker_url) as proxy, node(proxy.url):
        answers(remote)
        proxy.cut()
        assert proxy.refused.wait(_PATIENCE)
        monitor = Monitor(channel)
        holder = hold(channel.connection)
        proxy.let_through()
        assert monitor.wait_for("worker-online")[-1]["hostname"] == NODE
        assert NODE not in remote.ping_all(0.5)
        holder.close()
        answers(remote)


def hold(connection: BlockingConnection) -> BlockingChannel:
    """Consumes as a connection does of whose death the broker does not know: as soon as it knows of the node's."""
    held: list[BlockingChannel] = []

    def is_had() -> bool:
        held.append(connection.channel())
        with suppress(ChannelClosedByBroker):
            held[-1].queue_declare(inbox(NODE), exclusive=True, auto_delete=True, arguments=INBOX_ARGUMENTS)
        return bool(held[-1].is_open)

    wait_until(is_had)
    held[-1].basic_consume(inbox(NODE), lambda *_: None)
    return held[-1]


@contextmanager
def bystander(management: Management, owner: Owner) -> Iterator[tuple[BlockingChannel, CeleryClient]]:
    """Somebody whose connections are not the owner's, and outlive them."""
    url = management.admin_url(owner.vhost)
    with celery_client(url) as remote, closing(pika.BlockingConnection(pika.URLParameters(url))) as connected:
        yield connected.channel(), remote


def test_without_events_it_can_be_told_what_to_do(owner: Owner, management: Management, remote: CeleryClient) -> None:
    forbid(management, owner, "celeryev")
    with node(owner.broker_url) as it:
        answers(remote)
        it.events.run_taken(RUN)
        remote.revoke("an-id", terminate=True)
        assert it.runs.cancelled.get(timeout=_PATIENCE) == "an-id"


def test_without_replies_it_still_does_what_it_is_told(
    owner: Owner, management: Management, monitor: Monitor, channel: BlockingChannel
) -> None:
    forbid(management, owner, "reply")
    with node(owner.broker_url) as it:
        monitor.wait_for("worker-online")
        for method in ("ping", "revoke"):
            reply_to = {"exchange": REPLY_EXCHANGE, "routing_key": "nobody"}
            request = {"method": method, "arguments": {"task_id": "an-id", "terminate": True}, "reply_to": reply_to}
            channel.basic_publish(REQUEST_EXCHANGE, "", json.dumps(request).encode())
        assert it.runs.cancelled.get(timeout=_PATIENCE) == "an-id"
        it.events.run_taken(RUN)
        monitor.wait_for("task-received")


def forbid(management: Management, owner: Owner, name: str) -> None:
    """The owner may do what it likes with everything but that."""
    allowed = f"^(?!{name}).*$"
    permissions = dict.fromkeys(("configure", "write", "read"), allowed)
    management.put(f"permissions/{owner.vhost}/{broker_faults.user(owner)}", dict(permissions))
