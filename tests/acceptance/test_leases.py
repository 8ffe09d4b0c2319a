"""Workers that die, freeze or give back: each run is finished once, by whoever can, and its end told once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import pytest

from protocol.run import Role
from tests.support.competition import Competition
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.private_queue import PrivateQueue, gated, statuses
from tests.support.rabbit import Management
from tests.support.run_queue import RunQueue, run_message
from tests.support.worker_process import worker
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

TTL = 6.0
LONG_TTL = 12.0  # of which the margin is long enough for a machine that stalls
PATIENCE = 60.0
SLOWLY = 20.0  # seconds that a busy machine may take to begin a run: far less than without a lease


def test_a_run_whose_host_dies_is_finished_by_another_within_the_ttl(
    private_queue: PrivateQueue,
    competition: Competition,
    events: EngineEvents,
    tmp_path: Path,
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker(WORKER_LEASE_TTL=f"{TTL}s") as dying:
        message = private_queue.publish(submission)
        orphan = events.wait(message, "start").container
        dying.process.kill()
        died = time.time()
        with worker(private_queue.settings_of(WORKER_LEASE_TTL=f"{TTL}s"), tmp_path / "other") as other:
            again = events.wait(message, "start", count=2)
            assert again.time - died < TTL + SLOWLY
            private_queue.open_gate()
            assert statuses(private_queue.end_of(submission)) == ["running", "running", "finished"]
            assert [event["attempt"] for event in other.events("run taken")] == [2]
            assert other.stop() == ExitCode.OK
    with private_queue.worker(WORKER_LEASE_TTL=f"{TTL}s") as risen:  # what it has left on its host is its own to remove
        events.wait(message, "destroy", count=2)
        assert orphan in {event.container for event in events.of(message, "destroy")}
        assert risen.stop() == ExitCode.OK
    assert private_queue.ready() == 0


def test_a_worker_that_lost_its_lease_kills_the_container_and_says_nothing(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, tmp_path: Path
) -> None:
    submission = competition.docker_submission(f"trap '' TERM; {gated()}")
    with (
        FaultProxy(private_queue.owner.broker_url, heartbeat=2) as proxy,
        private_queue.worker(BROKER_URL=proxy.url, WORKER_LEASE_TTL=f"{LONG_TTL}s", WORKER_STOP_GRACE="60s") as frozen,
    ):
        message = private_queue.publish(submission)
        first = events.wait(message, "start")
        with worker(private_queue.settings_of(), tmp_path / "other"):
            proxy.black_hole()
            second = events.wait(message, "start", count=2)
            killed = next(event for event in events.of(message, "kill") if event.signal == signal.SIGKILL)
            assert killed.container == first.container
            assert killed.time < second.time, "another had it before we let go"
            private_queue.open_gate()
            assert statuses(private_queue.end_of(submission)) == ["running", "running", "finished"]
            proxy.let_through()
            frozen.wait_for_event(
                "lease lost, the broker has given this run to another worker, and the site is told nothing"
            )
            frozen.wait_for_event("connected to broker", count=6)
            assert statuses(private_queue.so_far(submission)) == ["running", "running", "finished"]


def test_a_run_that_has_cost_three_hosts_is_not_tried_on_a_fourth(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission()
    death = {"count": 3, "reason": "expired", "queue": "compute-worker.lease.elsewhere.120s", "exchange": ""}
    with private_queue.worker():
        body = run_message([submission.task_id, submission.task_args], id="the-fourth")
        RunQueue(private_queue.owner, "compute-worker").publish(body, headers={"x-death": [death]})
        updates = private_queue.end_of(submission)
    assert statuses(updates) == ["failed"]
    assert updates[0].traceback.startswith("The platform's workers failed or stopped in mid-run 3 times")
    assert events.of("the-fourth") == []


def test_where_no_lease_queue_may_be_made_runs_are_acknowledged_late_and_a_warning_tells_the_cost(
    private_queue: PrivateQueue, management: Management, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission(gated())
    own = private_queue.owner
    permission: dict[str, object] = {"configure": "^compute-worker$", "write": ".*", "read": ".*"}
    management.put(f"permissions/{own.vhost}/{own.broker_url.split('//')[1].split(':')[0]}", permission)
    with private_queue.worker() as daemon:
        (refused,) = daemon.events("the broker refuses this worker a lease queue")
        assert "compute-worker.lease." in refused["reason"]
        assert "WORKER_QUEUE" in refused["mend"]
        (warned,) = daemon.events("runs are not leased, but acknowledged when they have ended")
        assert "30 minutes" in warned["cost"]
        message = private_queue.publish(submission)
        events.wait(message, "start")
        private_queue.open_gate()
        assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        assert daemon.stop() == ExitCode.OK
    assert private_queue.ready() == 0


def test_a_run_that_was_given_back_is_taken_by_a_worker_of_another_make(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents, tmp_path: Path
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker() as daemon:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        for _ in range(2):
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_for_event("draining")
        assert daemon.process.wait(SLOWLY) == ExitCode.OK
    seen = taken_by_celery(private_queue)
    limit = submission.task_args["execution_time_limit"] + 3600
    assert (seen["id"], seen["timelimit"]) == (message, [None, limit])
    assert (seen["task_id"], seen["task_args"]) == (submission.task_id, submission.task_args)
    assert events.of(message, "start", Role.SCORING) == []
    assert tmp_path.exists()


def taken_by_celery(queue: PrivateQueue) -> dict[str, object]:
    reader, writer = os.pipe()
    environment = {
        **os.environ,
        "OTHER_PIPE": str(writer),
        "OTHER_QUEUE": "compute-worker",
        "OTHER_BROKER_URL": queue.owner.broker_url,
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.support.other_worker", "worker", "-l", "WARNING"]
    options = ["-P", "solo", "--without-mingle", "--without-gossip", "--without-heartbeat"]
    process = subprocess.Popen([*command, *options], env=environment, pass_fds=(writer,))
    os.close(writer)
    try:
        with os.fdopen(reader) as lines:
            seen: dict[str, object] = json.loads(lines.readline())
            return seen
    finally:
        process.kill()  # it holds nothing, and its orderly end takes seconds
        process.wait()


def test_an_idle_worker_ends_though_nothing_gets_through_to_the_broker(
    private_queue: PrivateQueue, proxy: FaultProxy
) -> None:
    with private_queue.worker(BROKER_URL=proxy.url) as daemon:
        proxy.black_hole()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(SLOWLY) == ExitCode.OK


def test_a_signal_has_settings_read_again_and_the_service_manager_hears_of_everything(
    private_queue: PrivateQueue, competition: Competition, tmp_path: Path
) -> None:
    env_file = private_queue.folder / ".env"
    private_queue.folder.mkdir(exist_ok=True)
    refused = competition.docker_submission()
    address = str(tmp_path / "notify")
    with closing(Told(address)) as told:
        with private_queue.worker(NOTIFY_SOCKET=address, WATCHDOG_USEC="400000") as daemon:
            told.until("READY=1")
            for _ in range(3):
                told.until("WATCHDOG=1")
            env_file.write_text("WORKER_ALLOWED_IMAGES=nothing/*\nWORKER_CONCURRENCY=2\n")
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for_event("settings read again")
            assert daemon.events("settings read again")[0]["need_a_restart"] == ["WORKER_CONCURRENCY"]
            told.until("RELOADING=1")
            told.until("READY=1")
            private_queue.publish(refused)
            assert "not among those" in private_queue.end_of(refused)[-1].traceback
            told.until(f"STATUS=in work: {refused.task_args['submission_id']}")
            env_file.write_text("WORKER_CONCURENCY=2\n")
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for_event("settings not read again")
            assert daemon.stop() == ExitCode.OK
        assert "EXTEND_TIMEOUT_USEC" in told.until("STOPPING=1")


class Told:
    """What arrives on the service manager's socket, in order: read at once, for what has no room is dropped."""

    def __init__(self, address: str) -> None:
        self._messages: SimpleQueue[str] = SimpleQueue()
        self._systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._systemd.bind(address)
        self._reader = Thread(target=self._read, name="systemd")
        self._reader.start()

    def close(self) -> None:
        self._systemd.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._systemd.close()

    def until(self, beginning: str) -> str:
        """Goes on to the next message that begins so."""
        while not (message := self._messages.get(timeout=PATIENCE)).startswith(beginning):
            pass
        return message

    def _read(self) -> None:
        while message := self._systemd.recv(4096).decode():
            self._messages.put(message)
