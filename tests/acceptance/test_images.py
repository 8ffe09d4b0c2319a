"""Images in whole runs: pulled once for all who want them, and given up for want of room."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping

import docker
import pytest
from docker.errors import ImageNotFound

from tests.contract.faulty_registry import Registry
from tests.support.competition import Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import PrivateQueue, gated, statuses
from tests.support.rabbit import Owner
from tests.support.registries import MakeRegistry, new_registry
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped

__all__ = ["new_registry"]  # a fixture taken in

pytestmark = pytest.mark.acceptance

SCORING = {"metadata": b"command: /bin/busybox sh -c 'echo scored > $output/scores.txt'\n"}
NO_DISK_HAS = "1000000g"
BUSY = 90.0  # seconds that a busy machine may take


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    with station(site, owner, settings, tmp_path_factory.mktemp("images")) as made:
        yield made


@pytest.fixture
def asked_by_one_pull(client: docker.DockerClient, new_registry: MakeRegistry) -> int:
    """Manifests that the engine asks for in one pull."""
    one = new_registry()
    client.images.pull(one.reference)
    return one.manifests_asked


def both(competition: Competition, one: Registry) -> Submission:
    """The participant's image is the organiser's, too."""
    return competition.submission(
        bundles={"program.zip": zipped(SCORING)}, submit_docker_command=one.reference, docker_image=one.reference
    )


def test_an_image_that_a_run_names_twice_is_pulled_once(
    here: Station, competition: Competition, new_registry: MakeRegistry, asked_by_one_pull: int
) -> None:
    one = new_registry()
    run = both(competition, one)
    here.publish(run)
    here.finished(run)
    assert run.archive()["scores.txt"] == b"scored\n"
    assert one.manifests_asked == asked_by_one_pull


def test_runs_that_come_while_an_image_is_pulled_wait_and_share_one_more_look(
    here: Station, competition: Competition, new_registry: MakeRegistry, asked_by_one_pull: int
) -> None:
    one = new_registry()
    one.fault = "layer:slow"
    runs = [both(competition, one) for _ in range(6)]
    for run in runs:
        here.publish(run)
    for run in runs:
        here.finished(run)
    assert one.manifests_asked <= 2 * asked_by_one_pull


@pytest.fixture
def removed_meanwhile(
    private_queue: PrivateQueue,
    competition: Competition,
    client: docker.DockerClient,
    new_registry: MakeRegistry,
    events: EngineEvents,
) -> Iterator[tuple[Submission, Registry]]:
    """A run whose participant's container is gated, and whose scoring image somebody has removed from the engine."""
    one = new_registry()
    run = competition.docker_submission(
        gated(), bundles={"program.zip": zipped(SCORING)}, docker_image=one.reference, execution_time_limit=120
    )
    with private_queue.worker(WORKER_LEASE_TTL="16s"):
        events.wait(private_queue.publish(run), "start", timeout=BUSY)
        client.images.remove(one.reference)
        yield run, one


def test_an_image_that_somebody_removes_before_its_container_is_made_is_pulled_again(
    removed_meanwhile: tuple[Submission, Registry], private_queue: PrivateQueue
) -> None:
    run, _ = removed_meanwhile
    private_queue.open_gate()
    assert statuses(private_queue.end_of(run, BUSY)) == ["running", "finished"]
    assert run.archive()["scores.txt"] == b"scored\n"


def test_an_image_that_cannot_be_had_again_costs_an_attempt_and_is_not_taken_for_another(
    removed_meanwhile: tuple[Submission, Registry], private_queue: PrivateQueue
) -> None:
    run, one = removed_meanwhile
    one.new_image()
    private_queue.open_gate()
    assert statuses(private_queue.end_of(run, BUSY)) == ["running", "running", "finished"]


def test_a_registry_that_says_nothing_holds_up_no_shutdown(
    private_queue: PrivateQueue, competition: Competition, new_registry: MakeRegistry
) -> None:
    one = new_registry()
    one.fault = "manifest:stall"
    with private_queue.worker() as worker:
        private_queue.publish(both(competition, one))
        assert one.held.wait(BUSY)
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for_event("draining", BUSY)
        assert worker.stop(timeout=BUSY) == 0  # the engine itself would be waited for longer, for 120 s
    assert private_queue.ready() == 1


def test_images_that_the_worker_pulled_leave_when_the_disk_is_short_and_no_others(
    private_queue: PrivateQueue, competition: Competition, client: docker.DockerClient, new_registry: MakeRegistry
) -> None:
    older, newer, operators = new_registry(), new_registry(), new_registry()
    client.images.pull(operators.reference)
    with private_queue.worker(WORKER_CONCURRENCY="2") as worker:
        for images in ([older], [newer, operators]):
            runs = [both(competition, one) for one in images]
            for run in runs:
                private_queue.publish(run)
            for run in runs:
                assert statuses(private_queue.end_of(run)) == ["running", "finished"]
        assert worker.stop() == 0
    with private_queue.worker(WORKER_MIN_FREE_DISK=NO_DISK_HAS) as worker:
        worker.wait_for_event("image removed to make room", count=2)
        assert worker.stop() == 0
        removed = [event["names"] for event in worker.events("image removed to make room")]
    assert removed == [[older.reference], [newer.reference]]
    for one in (older, newer):
        with pytest.raises(ImageNotFound):
            client.images.get(one.reference)
    for reference in (operators.reference, competition.image):
        client.images.get(reference)
