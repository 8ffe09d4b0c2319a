"""kill -9 at each stage of a run, then a new start: nothing is lost, nothing is computed or told twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from protocol.codalab import RUN_TASK
from protocol.run import Role
from sandbox.labels import RUN
from tests.support.bad_store import BadStore, Fault, bad_store
from tests.support.competition import Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.private_queue import QUEUE, PrivateQueue, gated, statuses
from tests.support.worker_process import WorkerProcess
from worker.demo.competition import zipped
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

ONCE = ["running", "finished"]
TALKING = f"echo before; echo remark >&2; {gated(then='echo after; printf 42 > /mnt/out/answer.txt')}"
WAITING_SCORER = b"""
import pathlib, sys, time
gate = pathlib.Path("/codalab/run/output/gate")
print("scoring", flush=True)
while not gate.exists():
    time.sleep(0.02)
gate.unlink()
print("scored")
"""
SCORER = zipped({"metadata": b"command: python3 $program/wait.py\n", "wait.py": WAITING_SCORER})


def kill(daemon: WorkerProcess) -> None:
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()


def starts(events: EngineEvents, message: str) -> list[str]:
    return [event.role for event in events.of(message, "start")]


def check_nothing_left(queue: PrivateQueue, message: str, daemon: WorkerProcess, client: docker.DockerClient) -> None:
    assert daemon.stop() == ExitCode.OK
    assert queue.ready() == 0
    assert client.containers.list(all=True, ignore_removed=True, filters={"label": f"{RUN}={message}"}) == []
    assert list((daemon.temp_dir / "runs").iterdir()) == []
    (record,) = (daemon.temp_dir / "journal").iterdir()
    text = record.read_text()
    assert "secret" not in text
    assert "sig=" not in text


@pytest.fixture
def store(parts: Parts) -> Iterator[BadStore]:
    with bad_store(parts.blob_endpoint) as store:
        yield store


@pytest.fixture
def through(competition: Competition, store: BadStore) -> Competition:
    return Competition(competition.store, competition.container, competition.image, store.endpoint)


def test_killed_while_staging(
    private_queue: PrivateQueue,
    through: Competition,
    store: BadStore,
    events: EngineEvents,
    client: docker.DockerClient,
) -> None:
    submission = through.docker_submission()
    bundle = submission.blob("program.zip")
    store.always("GET", bundle, Fault.RESET)
    with private_queue.worker() as killed:
        message = private_queue.publish(submission)
        private_queue.site.wait_for(submission.task_id, "running")
        assert store.wait_for("GET", bundle, count=1)
        kill(killed)
        store.always("GET", bundle, Fault.NONE)
        with private_queue.starting_worker() as daemon:
            assert statuses(private_queue.end_of(submission)) == ["running", *ONCE]
            check_nothing_left(private_queue, message, daemon, client)
    assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]


def test_killed_while_the_participants_container_runs(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, client: docker.DockerClient
) -> None:
    submission = competition.docker_submission(TALKING)
    with private_queue.worker() as killed:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        kill(killed)
        with private_queue.starting_worker() as daemon:
            daemon.wait_for_event("container adopted")
            private_queue.open_gate()
            assert statuses(private_queue.end_of(submission)) == ONCE
            check_nothing_left(private_queue, message, daemon, client)
    assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]
    assert "before\nafter\n" in submission.text("stdout.txt")
    assert submission.text("stderr.txt").count("remark") == 1 + 1  # the participant's, the scoring program's


def test_killed_between_two_containers_one_of_which_ended_unseen(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, client: docker.DockerClient
) -> None:
    submission = competition.docker_submission(TALKING)
    with private_queue.worker() as killed:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        killed.process.send_signal(signal.SIGSTOP)
        private_queue.open_gate()
        events.wait(message, "die")
        kill(killed)
        with private_queue.starting_worker() as daemon:
            assert statuses(private_queue.end_of(submission)) == ONCE
            check_nothing_left(private_queue, message, daemon, client)
    assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]
    assert "before\nafter\n" in submission.text("stdout.txt")


def test_killed_while_the_scoring_program_runs(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, client: docker.DockerClient
) -> None:
    submission = competition.docker_submission(bundles={"program.zip": SCORER})
    with private_queue.worker() as killed:
        message = private_queue.publish(submission)
        events.wait(message, "start", Role.SCORING)
        kill(killed)
        with private_queue.starting_worker() as daemon:
            daemon.wait_for_event("container adopted")
            (folder,) = (daemon.temp_dir / "runs").iterdir()
            (folder / "run" / "output" / "gate").touch()
            assert statuses(private_queue.end_of(submission)) == ONCE
            check_nothing_left(private_queue, message, daemon, client)
    assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]
    assert "predicted\n" in submission.text("stdout.txt")
    assert submission.text("stdout.txt").endswith("scoring\nscored\n")


def test_killed_while_results_are_stored(
    private_queue: PrivateQueue,
    through: Competition,
    store: BadStore,
    events: EngineEvents,
    client: docker.DockerClient,
) -> None:
    submission = through.docker_submission()
    store.first("PUT", submission.blob("output.zip"), [Fault.HELD])
    with private_queue.worker() as killed:
        message = private_queue.publish(submission)
        assert store.held.wait(60)
        kill(killed)
        store.let_go.set()
        with private_queue.starting_worker() as daemon:
            assert statuses(private_queue.end_of(submission)) == ONCE
            check_nothing_left(private_queue, message, daemon, client)
    assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]
    assert submission.archive()["scores.txt"] == b"correct: 1\n"


def test_killed_before_the_end_was_confirmed(
    private_queue: PrivateQueue,
    competition: Competition,
    proxy: FaultProxy,
    events: EngineEvents,
    client: docker.DockerClient,
) -> None:
    submission = competition.docker_submission(gated(then="echo no >&2; exit 3"))
    with private_queue.worker(BROKER_URL=proxy.url) as killed:
        message = private_queue.publish(submission)
        private_queue.site.wait_for(submission.task_id, "running")
        events.wait(message, "start")
        proxy.cut()
        private_queue.open_gate()
        killed.wait_for_event("uploaded", 60.0, count=3)
        killed.wait_for_event("the end of a run waits until its lease is in hand again")  # and is noted
        kill(killed)
        with private_queue.starting_worker() as daemon:
            told = private_queue.end_of(submission)
            assert statuses(told) == ["running", "failed"]
            assert told[-1].traceback == "Your submission ended with exit code 3; its stderr says more.\n\nno"
            daemon.wait_for_event("told again; nobody confirmed it before the worker ended")
            check_nothing_left(private_queue, message, daemon, client)
    assert starts(events, message) == [Role.PARTICIPANT]


def test_killed_before_the_message_was_acknowledged(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, client: docker.DockerClient
) -> None:
    """What the broker then does is done by hand: it delivers the message again, and says so."""
    submission = competition.docker_submission()
    with private_queue.worker() as killed:
        message = private_queue.publish(submission)
        assert statuses(private_queue.end_of(submission)) == ONCE
        killed.wait_for_event("run ended")  # it knows by now that this was confirmed
        kill(killed)
    with private_queue.channel() as channel:
        redeliver(channel, message, submission)
    with private_queue.starting_worker() as daemon:
        daemon.wait_for_event("delivered again, its run is done or in work here")
        assert statuses(private_queue.so_far(submission)) == ONCE
        check_nothing_left(private_queue, message, daemon, client)
    assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]


def redeliver(channel: BlockingChannel, message: str, submission: Submission) -> None:
    body = {"task": RUN_TASK, "id": message, "args": [submission.task_id, submission.task_args], "kwargs": {}}
    properties = pika.BasicProperties(content_type="application/json", content_encoding="utf-8")
    channel.confirm_delivery()
    channel.basic_publish("", QUEUE, json.dumps(body).encode(), properties)
    method, _properties, _body = channel.basic_get(QUEUE)
    assert method
    channel.basic_nack(method.delivery_tag or 0)


def test_an_upgrade_under_load_loses_and_repeats_nothing(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submissions = [competition.docker_submission(gated()) for _ in range(4)]
    with private_queue.worker(WORKER_CONCURRENCY="3") as old:
        messages = [private_queue.publish(submission) for submission in submissions]
        for message in messages[:3]:
            events.wait(message, "start")
        kill(old)
        with private_queue.starting_worker(WORKER_CONCURRENCY="3") as new:
            new.wait_for_event("container adopted", count=3)
            private_queue.open_gate()
            for submission in submissions:
                assert statuses(private_queue.end_of(submission)) == ONCE
            assert new.stop() == ExitCode.OK
    for message in messages:
        assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]
    assert list((new.temp_dir / "runs").iterdir()) == []


def test_a_store_that_is_away_is_waited_for(
    private_queue: PrivateQueue, through: Competition, store: BadStore, events: EngineEvents
) -> None:
    submission = through.docker_submission()
    store.first("PUT", submission.blob("stdout.txt"), [Fault.RESET] * 6)  # one attempt of the transfer has five
    with private_queue.worker(WORKER_LIVE_LOGS="0") as daemon:
        message = private_queue.publish(submission)
        assert statuses(private_queue.end_of(submission)) == ONCE
        assert daemon.events("waiting for the store to take results")
        assert daemon.stop() == ExitCode.OK
    assert starts(events, message) == [Role.PARTICIPANT, Role.SCORING]


def test_a_journal_that_cannot_be_read_stops_nobody(private_queue: PrivateQueue, competition: Competition) -> None:
    journal = Path(private_queue.folder) / "temp" / "journal"
    journal.mkdir(parents=True)
    (journal / "0123.json").write_text('{"version": 1, "message_id": ')
    submission = competition.docker_submission()
    with private_queue.worker() as daemon:
        private_queue.publish(submission)
        assert statuses(private_queue.end_of(submission)) == ONCE
        assert daemon.stop() == ExitCode.OK
    assert (journal / "0123.damaged").exists()
