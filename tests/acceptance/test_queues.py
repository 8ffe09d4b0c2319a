"""Which queue the worker takes from, how much of it, as whom, and what it says where it may not."""

from __future__ import annotations

import time
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.support.bad_store import BadStore
from tests.support.competition import Competition
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import QUEUE, PrivateQueue, gated, next_message, statuses
from tests.support.rabbit import Management
from tests.support.site import Site
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

PATIENCE = 60.0
QUICKLY = 40.0  # not for ever, and a busy machine has its time
FORMS: dict[str, dict[str, Any]] = {
    "x-max-priority": {"x-max-priority": 10},
    "a dead-letter exchange": {"x-dead-letter-exchange": "dead", "x-dead-letter-routing-key": "dead"},
    "x-queue-type quorum": {"x-queue-type": "quorum"},
}


def described(management: Management, kind: str, vhost: str, name: str) -> dict[str, Any]:
    found = management.get(f"{kind}/{quote(vhost, safe='')}/{quote(name, safe='')}")
    return cast("dict[str, Any]", found)


@pytest.mark.parametrize("arguments", FORMS.values(), ids=FORMS)
def test_a_queue_is_worked_as_it_is(
    private_queue: PrivateQueue, management: Management, competition: Competition, arguments: dict[str, Any]
) -> None:
    submission = competition.docker_submission()
    with private_queue.channel() as channel:
        channel.queue_declare(QUEUE, durable=True, arguments=arguments)
    with private_queue.worker():
        private_queue.publish_as_is(submission)
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
    assert described(management, "queues", private_queue.owner.vhost, QUEUE)["arguments"] == arguments


def test_an_absent_queue_is_made_as_the_site_makes_it(private_queue: PrivateQueue, management: Management) -> None:
    """Else the site's own declaration would be refused, and it could publish nothing (protocol-facts.md 4)."""
    vhost, updates = private_queue.owner.vhost, f"submission-updates.{uuid4()}"
    with private_queue.worker(WORKER_UPDATES_QUEUE=updates), private_queue.channel("/") as channel:
        check_declarations(management, vhost, QUEUE)
        check_declarations(management, "/", updates)
        channel.queue_delete(updates)
        channel.exchange_delete(updates)


def check_declarations(management: Management, vhost: str, name: str) -> None:
    queue = described(management, "queues", vhost, name)
    assert (queue["durable"], queue["auto_delete"], queue["exclusive"], queue["arguments"]) == (True, False, False, {})
    exchange = described(management, "exchanges", vhost, name)
    assert (exchange["type"], exchange["durable"], exchange["auto_delete"]) == ("direct", True, False)
    bindings = cast("list[dict[str, Any]]", management.get(f"queues/{quote(vhost, safe='')}/{name}/bindings"))
    assert (name, name) in [(binding["source"], binding["routing_key"]) for binding in bindings]


@pytest.mark.parametrize("task_protocol", [1, 2])
def test_both_task_protocols_are_understood(
    private_queue: PrivateQueue, competition: Competition, task_protocol: int
) -> None:
    submission = competition.docker_submission()
    publisher = Site(private_queue.site.broker_url, "submission-updates", task_protocol=task_protocol)
    with private_queue.worker():
        publisher.publish_run(submission.task_id, submission.task_args, vhost=private_queue.owner.vhost)
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]


def test_an_owner_reports_through_the_named_exchange(private_queue: PrivateQueue, competition: Competition) -> None:
    """It may write to no other on the site's vhost; on the default exchange its updates would be lost in silence."""
    submission, updates = competition.docker_submission(), f"submission-updates.{uuid4()}"
    with private_queue.channel("/") as channel:
        channel.exchange_declare(updates, "direct", durable=True)
        listener = f"{updates}.listener"
        channel.queue_declare(listener)
        channel.queue_bind(listener, updates, updates)
        with private_queue.worker(WORKER_UPDATES_QUEUE=updates):
            private_queue.publish(submission)
            told = [next_message(channel, listener) for _ in range(2)]
        channel.queue_delete(listener)
        channel.queue_delete(updates)
        channel.exchange_delete(updates)
    assert [message["args"][1]["status"] for message in told] == ["running", "finished"]
    assert {message["task"] for message in told} == {"apps.web.tasks.update_submission"}
    assert {message["args"][2] for message in told} == {submission.task_args["secret"]}


def test_a_busy_worker_holds_no_message_beyond_those_in_work(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    first, second, third = (competition.docker_submission(gated(name)) for name in ("one", "two", "three"))
    with private_queue.worker():
        messages = [private_queue.publish(submission) for submission in (first, second, third)]
        events.wait(messages[0], "start")
        assert private_queue.ready() == 2
        private_queue.open_gate("one")
        events.wait(messages[1], "start")
        assert private_queue.ready() == 1
        private_queue.open_gate("two")
        private_queue.open_gate("three")
        assert statuses(private_queue.end_of(third)) == ["running", "finished"]


def test_two_slots_work_two_runs_at_a_time(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submissions = [competition.docker_submission(gated()) for _ in range(3)]
    with private_queue.worker(WORKER_CONCURRENCY="2"):
        messages = [private_queue.publish(submission) for submission in submissions]
        for message in messages[:2]:
            events.wait(message, "start")
        assert private_queue.ready() == 1
        private_queue.open_gate()
        for submission in submissions:
            assert statuses(private_queue.end_of(submission)) == ["running", "finished"]


def test_while_results_are_stored_one_more_run_computes_and_the_others_wait(
    private_queue: PrivateQueue, contest: Competition, store: BadStore, events: EngineEvents
) -> None:
    one, two, three = (contest.docker_submission() for _ in range(3))
    holds = {run.task_id: store.hold("PUT", run.blob("output.zip")) for run in (one, two)}
    with private_queue.worker() as daemon:
        private_queue.publish(one)
        assert holds[one.task_id].held.wait(PATIENCE)
        private_queue.publish(two)
        message = private_queue.publish(three)
        assert holds[two.task_id].held.wait(PATIENCE)
        assert private_queue.ready() == 1  # for whichever worker comes first
        holds[two.task_id].let_go.set()
        assert statuses(private_queue.end_of(two)) == ["running", "finished"]
        events.wait(message, "start")
        assert statuses(private_queue.end_of(three)) == ["running", "finished"]
        assert statuses(private_queue.so_far(one)) == ["running"]
        holds[one.task_id].let_go.set()
        assert statuses(private_queue.end_of(one)) == ["running", "finished"]
        assert daemon.stop() == ExitCode.OK
    assert private_queue.ready() == 0


@pytest.mark.parametrize("fault", ["wrong password", "absent vhost", "refused vhost", "refused updates vhost"])
def test_a_broker_that_refuses_us_is_told_at_once(
    private_queue: PrivateQueue, management: Management, fault: str
) -> None:
    owner = private_queue.owner
    login, _, address = owner.broker_url.rpartition("@")
    user, _, password = login.rpartition(":")
    host = address.partition("/")[0]
    with management.owner() as other:
        changes = {
            "wrong password": {"BROKER_URL": f"{user}:not-{password}@{address}"},
            "absent vhost": {"BROKER_URL": f"{login}@{host}/{uuid4()}"},
            "refused vhost": {"BROKER_URL": f"{login}@{host}/{other.vhost}"},
            "refused updates vhost": {"WORKER_UPDATES_VHOST": other.vhost},
        }[fault]
        began = time.monotonic()
        with private_queue.starting_worker(**changes) as worker:
            assert worker.process.wait(QUICKLY) == ExitCode.UNREACHABLE
    assert time.monotonic() - began < QUICKLY
    (event,) = worker.events("cannot work")
    assert "refuses this user or the virtual host" in event["reason"]
    assert password not in worker.log.read_text()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "BROKER_URL is not set: put the URL that the site shows for this queue into it."),
        ("http://user:pass-word@host/", "BROKER_URL"),
        ("amqp://user:pass-word@host:port/", "BROKER_URL"),
        ("nonsense", "BROKER_URL"),
    ],
)
def test_a_broker_url_that_makes_no_sense_is_a_matter_of_settings(
    private_queue: PrivateQueue, url: str, sentence: str
) -> None:
    with private_queue.starting_worker(BROKER_URL=url) as worker:
        assert worker.process.wait(QUICKLY) == ExitCode.USAGE
    assert worker.log.read_text().startswith(sentence)
    assert "pass-word" not in worker.log.read_text()
