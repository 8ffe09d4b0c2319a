"""The broker goes, comes back, closes and deletes things: a run is worked once, and its end told once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from protocol.run import Role
from tests.support import broker_faults
from tests.support.bad_store import BadStore
from tests.support.competition import Competition
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.private_queue import QUEUE, PrivateQueue, gated, next_message, statuses
from tests.support.rabbit import Management
from tests.support.worker_process import worker

pytestmark = pytest.mark.acceptance

Fault = Callable[[FaultProxy, PrivateQueue, Management], None]
PATIENCE = 60.0
WAITS = "the end of a run waits until its lease is in hand again"
LOST = "lease lost, the broker has given this run to another worker, and the site is told nothing"


def reset(proxy: FaultProxy, _queue: PrivateQueue, _management: Management) -> None:
    proxy.reset()


def close_connections(_proxy: FaultProxy, queue: PrivateQueue, management: Management) -> None:
    broker_faults.close_connections(management, queue.owner)


def close_channel(proxy: FaultProxy, _queue: PrivateQueue, _management: Management) -> None:
    """As the broker's consumer timeout does (protocol-facts.md 7.1)."""
    proxy.close_consuming_channels(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out")


@dataclass(frozen=True)
class Terms:
    """What WORKER_LEASE_TTL is, and what the log says when a run has survived a broken connection."""

    ttl: str
    recovered: str


LEASED = Terms("120s", "the leases of the runs in work are in hand again")
NOT_LEASED = Terms("0", "delivered again, its run goes on")


@pytest.mark.parametrize("terms", [LEASED, NOT_LEASED], ids=["leased", "not leased"])
@pytest.mark.parametrize("fault", [reset, close_connections, close_channel])
def test_a_run_survives_that_the_broker_breaks_off(
    private_queue: PrivateQueue,
    proxy: FaultProxy,
    management: Management,
    competition: Competition,
    events: EngineEvents,
    fault: Fault,
    terms: Terms,
) -> None:
    submission, next_one = competition.docker_submission(gated()), competition.docker_submission()
    with private_queue.worker(BROKER_URL=proxy.url, WORKER_LEASE_TTL=terms.ttl) as worker:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        fault(proxy, private_queue, management)
        worker.wait_for_event(terms.recovered)
        private_queue.open_gate()
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        private_queue.publish(next_one)
        assert statuses(private_queue.end_of(next_one)) == ["running", "finished"]
        assert worker.stop() == 0
    assert [start.role for start in events.of(message, "start")] == [Role.PARTICIPANT, Role.SCORING]
    assert private_queue.ready() == 0


def test_heartbeats_go_on_during_a_run(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission("sleep 6")
    with (
        FaultProxy(private_queue.owner.broker_url, heartbeat=2) as proxy,
        private_queue.worker(BROKER_URL=proxy.url),
    ):
        message = private_queue.publish(submission)
        events.wait(message, "start")
        before = [(wire.client_beats, wire.server_beats) for wire in proxy.wires]
        events.wait(message, "die")
        after = [(wire.client_beats, wire.server_beats) for wire in proxy.wires]
    assert {wire.vhost for wire in proxy.wires} == {"/", private_queue.owner.vhost}
    assert len(after) == 3, "a connection was lost"
    for (client, server), (client_later, server_later) in zip(before, after, strict=True):
        assert client_later - client >= 3
        assert server_later - server >= 3


def test_the_heartbeat_is_short_where_the_broker_offers_a_long_one(
    private_queue: PrivateQueue, proxy: FaultProxy
) -> None:
    with private_queue.worker(BROKER_URL=proxy.url) as worker:
        worker.wait_connected("intake", "updates", "control")
        assert [wire.negotiated_heartbeat for wire in proxy.wires] == [15, 15, 15]


def test_a_slow_line_is_no_obstacle(private_queue: PrivateQueue, proxy: FaultProxy, competition: Competition) -> None:
    submission = competition.docker_submission()
    proxy.delay(0.05)
    with private_queue.worker(BROKER_URL=proxy.url):
        private_queue.publish(submission)
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]


def test_a_broker_that_is_away_at_the_start_is_waited_for(
    private_queue: PrivateQueue, proxy: FaultProxy, competition: Competition
) -> None:
    submission = competition.docker_submission()
    private_queue.publish(submission)
    proxy.refuse()
    with private_queue.starting_worker(BROKER_URL=proxy.url) as worker:
        worker.wait_for_event("no broker connection, trying again", count=3)
        assert proxy.refused.is_set()
        proxy.let_through()
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]


def test_an_end_that_cannot_be_told_waits_for_the_broker(
    private_queue: PrivateQueue, proxy: FaultProxy, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker(BROKER_URL=proxy.url) as worker:
        message = private_queue.publish(submission)
        private_queue.site.wait_for(submission.task_id, "running")
        events.wait(message, "start")
        proxy.cut()
        private_queue.open_gate()
        worker.wait_for_event("uploaded", count=5)
        assert submission.archive()["scores.txt"] == b"correct: 1\n"
        assert statuses(private_queue.so_far(submission)) == ["running"]
        proxy.let_through()
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        worker.wait_connected("intake", "updates", count=2)
        assert worker.stop() == 0
    assert len(events.of(message, "start")) == 2
    assert private_queue.ready() == 0


def test_an_end_that_is_come_to_while_the_run_queue_is_out_of_reach_is_told_when_it_is_back(
    private_queue: PrivateQueue, management: Management, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker() as worker:
        message = private_queue.publish(submission)
        private_queue.site.wait_for(submission.task_id, "running")
        events.wait(message, "start")
        with broker_faults.shut_out(management, private_queue.owner, private_queue.owner.vhost):
            private_queue.open_gate()
            worker.wait_for_event(WAITS)
            worker.wait_connected("updates", count=2)
            assert statuses(private_queue.so_far(submission)) == ["running"]
        worker.wait_for_event(LEASED.recovered)
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        assert worker.stop() == 0
    assert len(events.of(message, "start")) == 2
    assert private_queue.ready() == 0


def test_an_end_whose_lease_is_lost_before_the_run_queue_is_back_is_left_to_whoever_has_the_run_then(
    private_queue: PrivateQueue, proxy: FaultProxy, contest: Competition, store: BadStore, tmp_path: Path
) -> None:
    submission = contest.docker_submission()
    last = store.hold("PUT", submission.blob("output.zip"))  # so that the end is come to while the lease is trusted
    with private_queue.worker(BROKER_URL=proxy.url, WORKER_LEASE_TTL="6s") as cut_off:
        private_queue.publish(submission)
        private_queue.site.wait_for(submission.task_id, "running")
        assert last.held.wait(PATIENCE)
        proxy.bar(private_queue.owner.vhost)
        last.let_go.set()
        cut_off.wait_for_event(WAITS)
        with worker(private_queue.settings_of(), tmp_path / "other"):
            assert statuses(private_queue.end_of(submission)) == ["running", "running", "finished"]
            proxy.let_through()
            cut_off.wait_connected("intake", count=2)
            assert statuses(private_queue.so_far(submission)) == ["running", "running", "finished"]
        cut_off.wait_for_event(LOST)
        assert cut_off.stop() == 0
    assert private_queue.ready() == 0


def test_a_run_is_acknowledged_only_when_its_end_is_confirmed(
    private_queue: PrivateQueue, management: Management, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker(WORKER_LEASE_TTL="8s") as worker:
        message = private_queue.publish(submission)
        private_queue.site.wait_for(submission.task_id, "running")
        events.wait(message, "start")
        with broker_faults.shut_out(management, private_queue.owner, "/"):
            worker.wait_for_event(LEASED.recovered)
            private_queue.open_gate()
            worker.wait_for_event("uploaded", count=5)
            assert statuses(private_queue.so_far(submission)) == ["running"]
            worker.process.kill()
            with private_queue.channel() as channel:
                args, *_ = next_message(channel, QUEUE)
    assert args[0] == submission.task_id


@pytest.mark.parametrize("deleted", ["queue", "exchange"])
def test_updates_arrive_though_their_queue_or_exchange_was_deleted(
    private_queue: PrivateQueue, competition: Competition, deleted: str
) -> None:
    submission, updates = competition.docker_submission(gated()), f"submission-updates.{uuid4()}"
    with private_queue.worker(WORKER_UPDATES_QUEUE=updates) as worker, private_queue.channel("/") as channel:
        private_queue.publish(submission)
        assert next_message(channel, updates)["args"][1]["status"] == "running"
        if deleted == "queue":
            channel.queue_delete(updates)
        else:
            channel.exchange_delete(updates)
        private_queue.open_gate()
        worker.wait_for_event("run ended")
        assert next_message(channel, updates)["args"][1]["status"] == "finished"
        channel.queue_delete(updates)
        channel.exchange_delete(updates)


def test_a_deleted_run_queue_is_taken_from_again(private_queue: PrivateQueue, competition: Competition) -> None:
    submission = competition.docker_submission()
    with private_queue.worker():
        with private_queue.channel() as channel:
            channel.queue_delete(QUEUE)
        private_queue.publish(submission)  # the site declares its queue whenever it publishes
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
