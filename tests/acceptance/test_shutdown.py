"""Signals, kills and restarts: what is in work ends or goes back, and nothing is left over."""

from __future__ import annotations

import signal
import time

import docker
import pytest

from protocol.run import Role
from sandbox.labels import RUN
from tests.support.competition import Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.private_queue import PrivateQueue, gated, statuses
from tests.support.worker_process import WorkerProcess, worker
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

QUICKLY = 30.0  # not for ever, and a busy machine has its time
BOTH_SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


@BOTH_SIGNALS
def test_an_idle_worker_ends_at_once(private_queue: PrivateQueue, number: signal.Signals) -> None:
    with private_queue.worker() as daemon:
        daemon.process.send_signal(number)
        assert daemon.process.wait(QUICKLY) == ExitCode.OK


def test_an_idle_worker_ends_though_the_broker_is_away(private_queue: PrivateQueue, proxy: FaultProxy) -> None:
    with private_queue.worker(BROKER_URL=proxy.url) as daemon:
        proxy.cut()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(QUICKLY) == ExitCode.OK


@BOTH_SIGNALS
def test_what_is_in_work_is_finished_and_nothing_new_is_taken(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, number: signal.Signals
) -> None:
    first, second = (competition.docker_submission(gated()) for _ in range(2))
    with private_queue.worker() as daemon:
        messages = [private_queue.publish(submission) for submission in (first, second)]
        events.wait(messages[0], "start")
        daemon.process.send_signal(number)
        daemon.wait_for_event("draining")
        private_queue.open_gate()
        assert daemon.process.wait(60) == ExitCode.OK
    assert statuses(private_queue.end_of(first)) == ["running", "finished"]
    assert private_queue.so_far(second) == []
    assert events.of(messages[1]) == []
    assert private_queue.ready() == 1


def test_a_second_signal_gives_the_run_back(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, client: docker.DockerClient
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker() as daemon:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for_event("draining")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(QUICKLY) == ExitCode.OK
        check_given_back(private_queue, submission, message, client, daemon)
        with private_queue.worker():
            private_queue.open_gate()
            assert statuses(private_queue.end_of(submission)) == ["running", "running", "finished"]


def test_the_drain_timeout_gives_the_run_back(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, client: docker.DockerClient
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker(WORKER_DRAIN_TIMEOUT="1s") as daemon:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        told = time.time()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(1 + QUICKLY) == ExitCode.OK
        assert events.wait(message, "kill").time - told >= 1
        check_given_back(private_queue, submission, message, client, daemon)


def test_a_container_that_ignores_sigterm_does_not_hold_up_the_end(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, client: docker.DockerClient
) -> None:
    submission = competition.docker_submission(f"trap '' TERM; {gated()}")
    with private_queue.worker() as daemon:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        for _ in range(2):
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_for_event("draining")
        assert daemon.process.wait(1 + QUICKLY) == ExitCode.OK  # the grace, then SIGKILL
        check_given_back(private_queue, submission, message, client, daemon)


def test_a_second_signal_while_an_end_cannot_be_told_gives_the_run_back(
    private_queue: PrivateQueue,
    competition: Competition,
    proxy: FaultProxy,
    events: EngineEvents,
    client: docker.DockerClient,
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker(BROKER_URL=proxy.url) as daemon:
        message = private_queue.publish(submission)
        private_queue.site.wait_for(submission.task_id, "running")
        events.wait(message, "start")
        proxy.cut()
        private_queue.open_gate()
        daemon.wait_for_event("uploaded", count=5)
        for _ in range(2):
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_for_event("draining")
        assert daemon.process.wait(2 * QUICKLY) == ExitCode.OK
        assert private_queue.leased(daemon) == 1  # until the lease runs out
        check_given_back(private_queue, submission, message, client, daemon, ready=0)


def check_given_back(
    queue: PrivateQueue,
    submission: Submission,
    message: str,
    client: docker.DockerClient,
    daemon: WorkerProcess,
    *,
    ready: int = 1,
) -> None:
    """The message is in the queue again, the site has heard of no end, and neither container nor folder is left."""
    queue.wait_ready(ready)
    queue.site.wait_for(submission.task_id, "running")
    assert statuses(queue.so_far(submission)) == ["running"]
    assert client.containers.list(all=True, ignore_removed=True, filters={"label": f"{RUN}={message}"}) == []
    assert list((daemon.temp_dir / "runs").iterdir()) == []


def test_an_orphan_that_no_journal_tells_of_is_removed_by_the_next_worker(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker() as killed:
        message = private_queue.publish(submission)
        orphan = events.wait(message, "start").container
        killed.process.kill()
        killed.process.wait()
        assert not events.of(message, "die")
        (left,) = (killed.temp_dir / "runs").iterdir()
        (journal,) = (killed.temp_dir / "journal").glob("*.json")
        journal.unlink()
        with private_queue.starting_worker() as daemon:
            assert events.wait(message, "destroy").container == orphan
            assert events.wait(message, "start", count=2).container != orphan
            assert not left.exists()
            private_queue.open_gate()
            assert statuses(private_queue.end_of(submission)) == ["running", "running", "finished"]
            assert daemon.stop() == ExitCode.OK
    assert [event.role for event in events.of(message, "start")] == [Role.PARTICIPANT, Role.PARTICIPANT, Role.SCORING]
    assert private_queue.ready() == 0
    assert list((daemon.temp_dir / "runs").iterdir()) == []


def test_the_orphans_of_another_worker_are_left_alone(
    private_queue: PrivateQueue,
    competition: Competition,
    events: EngineEvents,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker() as busy:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        with worker(private_queue.settings, tmp_path_factory.mktemp("another")) as another:
            assert another.stop() == ExitCode.OK
        assert not events.of(message, "die")
        private_queue.open_gate()
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        assert busy.stop() == ExitCode.OK


def test_a_temp_dir_has_one_worker(private_queue: PrivateQueue) -> None:
    with private_queue.worker() as first:
        with private_queue.starting_worker() as second:
            assert second.process.wait(QUICKLY) == ExitCode.TEMP_DIR_TAKEN
        sentence = f"Another worker holds {first.temp_dir}: stop it, or give this one a SUBMISSION_TEMP_DIR of its own."
        assert sentence in first.log.read_text().splitlines()
        assert first.stop() == ExitCode.OK
