"""A site and its operators tell the worker what to do by real Celery: look, cancel, shut down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from socket import gethostname

import docker
import pytest

from protocol.celery_control import node_name
from protocol.codalab import RUN_TASK
from protocol.run import Role
from sandbox.labels import RUN
from tests.support.celery_client import CeleryClient, celery_client
from tests.support.competition import Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import QUEUE, PrivateQueue, gated, statuses
from tests.support.rabbit import Management
from tests.support.worker_process import WorkerProcess, worker
from worker.exit_codes import ExitCode
from worker.kept.folders import identity

pytestmark = pytest.mark.acceptance

HOST = "compute-7"
NODE = node_name(HOST)
CANCELLED = "Your submission was cancelled."
GRACE = 60.0
DEAD_WITHIN = 20.0  # seconds: at once, on a busy machine, and far less than the grace
STUBBORN = f"trap '' TERM; {gated()}"


@pytest.fixture
def queue(private_queue: PrivateQueue) -> PrivateQueue:
    """Of workers with a name, and with the stop grace that they have by themselves."""
    settings = {**private_queue.settings, "CODALAB_HOSTNAME": HOST}
    del settings["WORKER_STOP_GRACE"]
    return PrivateQueue(private_queue.site, private_queue.owner, settings, private_queue.folder)


@pytest.fixture
def remote(queue: PrivateQueue) -> Iterator[CeleryClient]:
    with celery_client(queue.owner.broker_url) as client:
        yield client


@contextmanager
def listening(queue: PrivateQueue, **changes: str) -> Iterator[WorkerProcess]:
    with queue.worker(**changes) as daemon:
        daemon.wait_for_event("listening for remote control")
        yield daemon


def check_cancelled(queue: PrivateQueue, submission: Submission, *, begun: bool) -> None:
    """The site is told one end, and that nobody is to blame."""
    updates = queue.end_of(submission)
    assert statuses(updates) == (["running", "failed"] if begun else ["failed"])
    assert updates[-1].traceback.startswith(CANCELLED)


def test_an_idle_worker_tells_what_it_is(queue: PrivateQueue, remote: CeleryClient) -> None:
    with listening(queue, WORKER_CONCURRENCY="2") as daemon:
        assert remote.ask(NODE, "ping") == {"ok": "pong"}
        inspect = remote.inspect(NODE)
        assert inspect.registered() == {NODE: [RUN_TASK]}
        assert inspect.active() == inspect.reserved() == inspect.scheduled() == inspect.revoked() == {NODE: []}
        stats = inspect.stats()[NODE]
        assert (stats["pid"], stats["pool"]["max-concurrency"]) == (daemon.process.pid, 2)
        assert stats["broker"]["virtual_host"] == queue.owner.vhost
        assert [one["name"] for one in inspect.active_queues()[NODE]] == [QUEUE]
        assert "********" in inspect.conf()[NODE]["broker_url"]
        assert "codalab-worker:" in inspect.report()[NODE]["ok"]
        assert inspect.clock()[NODE]["clock"] > 0
        assert inspect.query_task("unknown") == {NODE: {}}
        assert inspect.hello("you@host", revoked=["an-id"])[NODE]["revoked"] == ["an-id"]
        assert remote.ask(NODE, "pool_grow", n=1)["error"].startswith("The pool has a fixed size")
        assert remote.ask(NODE, "no_such_command") == {"error": "KeyError('no_such_command')"}
        assert daemon.stop() == ExitCode.OK


def test_terminate_kills_the_container_and_tells_the_site(
    queue: PrivateQueue,
    remote: CeleryClient,
    competition: Competition,
    events: EngineEvents,
    client: docker.DockerClient,
) -> None:
    submission, next_one = competition.docker_submission(STUBBORN), competition.docker_submission()
    with listening(queue, WORKER_STOP_GRACE=f"{GRACE}s") as daemon:
        message = queue.publish(submission)
        events.wait(message, "start")
        told = check_in_work(remote, message, submission)
        remote.revoke(message)  # without terminate: it goes on
        assert remote.ask(NODE, "query_task", ids=[message])[message][0] == "active"
        asked = time.time()
        remote.revoke(message, terminate=True)
        assert events.wait(message, "die").time - asked < DEAD_WITHIN
        check_cancelled(queue, submission, begun=True)
        queue.publish(next_one)
        assert statuses(queue.end_of(next_one)) == ["running", "finished"]
        assert remote.inspect(NODE).revoked() == {NODE: [message]}
        assert remote.inspect(NODE).stats()[NODE]["total"] == {RUN_TASK: 2}
        assert daemon.stop() == ExitCode.OK
    assert queue.ready() == 0
    assert client.containers.list(all=True, ignore_removed=True, filters={"label": f"{RUN}={message}"}) == []
    assert list((daemon.temp_dir / "runs").iterdir()) == []
    assert submission.task_args["secret"] not in told + daemon.log.read_text()


def check_in_work(remote: CeleryClient, message: str, submission: Submission) -> str:
    """What Celery shows of a run in work, which is nothing that opens a door."""
    active = remote.inspect(NODE).active()
    (run,) = active[NODE]
    assert (run["id"], run["name"], run["hostname"]) == (message, RUN_TASK, NODE)
    assert run["args"][0] == submission.task_args["submission_id"]
    told = json.dumps([active, remote.ask(NODE, "dump_active")])
    assert "sig=" not in told
    assert "://" not in told
    return told


def test_a_run_that_waits_is_cancelled_before_it_begins(
    queue: PrivateQueue, remote: CeleryClient, competition: Competition, events: EngineEvents
) -> None:
    first, second, third = (competition.docker_submission(script) for script in (gated(), gated(), gated()))
    with listening(queue) as daemon:
        messages = [queue.publish(submission) for submission in (first, second, third)]
        events.wait(messages[0], "start")
        remote.revoke(messages[1])
        remote.revoke([messages[1], messages[2]], terminate=True)
        assert set(remote.inspect(NODE).revoked()[NODE]) == set(messages[1:])
        queue.open_gate()
        assert statuses(queue.end_of(first)) == ["running", "finished"]
        for submission in (second, third):
            check_cancelled(queue, submission, begun=False)
        assert daemon.stop() == ExitCode.OK
    assert events.of(messages[1]) == events.of(messages[2]) == []
    assert queue.ready() == 0


def test_shutdown_finishes_what_is_in_work(
    queue: PrivateQueue, remote: CeleryClient, competition: Competition, events: EngineEvents
) -> None:
    first, second = competition.docker_submission(gated()), competition.docker_submission()
    with listening(queue) as daemon:
        message = queue.publish(first)
        queue.publish(second)
        events.wait(message, "start")
        for _ in range(2):  # a second one is no second signal: nothing is given back
            remote.shut_down(NODE)
        daemon.wait_for_event("draining")
        assert remote.ask(NODE, "ping") == {"ok": "pong"}  # what is in work can still be cancelled
        queue.open_gate()
        assert daemon.process.wait(60) == ExitCode.OK
    assert statuses(queue.end_of(first)) == ["running", "finished"]
    assert queue.so_far(second) == []
    assert queue.ready() == 1
    assert [start.role for start in events.of(message, "start")] == [Role.PARTICIPANT, Role.SCORING]


def test_two_workers_of_one_host_have_two_names(
    queue: PrivateQueue, remote: CeleryClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with listening(queue), worker(queue.settings, tmp_path_factory.mktemp("another")) as another:
        another.wait_for_event("listening for remote control")
        other = node_name(HOST, identity(another.temp_dir, gethostname())[:8])
        assert remote.inspect(NODE, other).ping() == {NODE: {"ok": "pong"}, other: {"ok": "pong"}}
        assert another.stop() == ExitCode.OK


def test_a_virtual_host_that_forbids_it_costs_one_warning(
    queue: PrivateQueue, management: Management, competition: Competition
) -> None:
    user = queue.owner.broker_url.split("://")[1].split(":")[0]
    allowed = "^(?!.*(pidbox|celeryev)).*$"
    management.put(f"permissions/{queue.owner.vhost}/{user}", {"configure": allowed, "write": allowed, "read": allowed})
    submission = competition.docker_submission()
    with queue.worker() as daemon:
        daemon.wait_for_event("no full remote control on this virtual host; runs are worked without it")
        queue.publish(submission)
        assert statuses(queue.end_of(submission)) == ["running", "finished"]
        assert daemon.stop() == ExitCode.OK
    warnings = [event for event in daemon.events() if event["level"] in {"warning", "error"}]
    assert len(warnings) == 1
    assert "ACCESS_REFUSED" in warnings[0]["reason"]
