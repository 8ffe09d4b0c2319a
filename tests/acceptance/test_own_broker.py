"""A broker that speaks TLS, restarts, and runs short of memory: a run is worked once, and its end told once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from protocol.run import Role
from tests.support import broker_faults
from tests.support.certificate import Certificate, self_signed
from tests.support.competition import Competition
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.own_broker import OwnBroker, own_broker
from tests.support.private_queue import PrivateQueue, gated, statuses
from tests.support.rabbit import Management
from tests.support.site import Site

pytestmark = pytest.mark.acceptance

RECOVERED = "the leases of the runs in work are in hand again"
SHORT = "the broker is short of memory or disk, and takes nothing; waiting for it"

Fault = Callable[[OwnBroker, FaultProxy, PrivateQueue], None]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[OwnBroker]:
    with own_broker(tmp_path_factory.mktemp("rabbit") / "node", certificate=certificate) as broker:
        yield broker


@pytest.fixture(scope="module")
def its_site(broker: OwnBroker) -> Iterator[Site]:
    site = Site(broker.url, "submission-updates")
    with site.consuming():
        yield site


@pytest.fixture
def queue(broker: OwnBroker, its_site: Site, settings: dict[str, str], tmp_path: Path) -> Iterator[PrivateQueue]:
    with Management(broker.api, broker.url).owner() as owner:
        own = {**settings, "BROKER_URL": owner.broker_url, "WORKER_UPDATES_QUEUE": its_site.updates_queue}
        yield PrivateQueue(its_site, owner, own, tmp_path)


def reset(_broker: OwnBroker, proxy: FaultProxy, _queue: PrivateQueue) -> None:
    proxy.reset()


def close_connections(broker: OwnBroker, _proxy: FaultProxy, queue: PrivateQueue) -> None:
    broker_faults.close_connections(Management(broker.api, broker.url), queue.owner)


def restart(broker: OwnBroker, _proxy: FaultProxy, _queue: PrivateQueue) -> None:
    with broker.stopped():
        pass


def by_tls(broker: OwnBroker, queue: PrivateQueue) -> str:
    parts = urlsplit(queue.owner.broker_url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{broker.tls_port}").geturl()


@pytest.mark.parametrize("fault", [reset, close_connections, restart])
def test_a_run_survives_that_its_encrypted_connections_break_off(
    broker: OwnBroker,
    certificate: Certificate,
    queue: PrivateQueue,
    competition: Competition,
    events: EngineEvents,
    fault: Fault,
) -> None:
    submission = competition.docker_submission(gated())
    trust = {"BROKER_USE_SSL": "true", "BROKER_SSL_CA": str(certificate.certificate)}
    with (
        FaultProxy(by_tls(broker, queue), encrypted=True) as proxy,
        queue.worker(BROKER_URL=proxy.url, **trust) as worker,
    ):
        message = queue.publish(submission)
        events.wait(message, "start")
        fault(broker, proxy, queue)
        worker.wait_for_event(RECOVERED, timeout=60.0)
        queue.open_gate()
        assert statuses(queue.end_of(submission)) == ["running", "finished"]
        assert worker.stop() == 0
    assert [start.role for start in events.of(message, "start")] == [Role.PARTICIPANT, Role.SCORING]
    assert queue.ready() == 0


def test_a_broker_whose_certificate_nobody_vouches_for_is_told_nothing(broker: OwnBroker, queue: PrivateQueue) -> None:
    with queue.starting_worker(BROKER_URL=by_tls(broker, queue), BROKER_USE_SSL="true") as worker:
        worker.wait_for_event("no broker connection, trying again")
        tried = worker.events("no broker connection, trying again")[0]
        assert "CERTIFICATE_VERIFY_FAILED" in tried["error"]
        assert not worker.events("connected to broker")


def test_an_end_that_is_come_to_while_the_broker_takes_nothing_is_told_when_it_does_again(
    broker: OwnBroker, queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission(gated())
    with queue.worker(WORKER_LEASE_TTL="6s") as worker:
        message = queue.publish(submission)
        events.wait(message, "start")
        queue.site.wait_for(submission.task_id, "running")
        with broker.short_of_memory():
            worker.wait_for_event(SHORT)
            queue.open_gate()
            worker.wait_for_event("uploaded", count=5)
            queue.site.settle(7.0)  # longer than the lease
            assert statuses(queue.so_far(submission)) == ["running"]
        assert statuses(queue.end_of(submission)) == ["running", "finished"]
        assert worker.stop() == 0
    assert [start.role for start in events.of(message, "start")] == [Role.PARTICIPANT, Role.SCORING]
    assert queue.ready() == 0
