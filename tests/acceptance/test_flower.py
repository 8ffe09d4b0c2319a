"""A real Flower shows this worker and its runs, and cancels one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from protocol.celery_control import node_name
from protocol.codalab import RUN_TASK
from tests.support.chromium import look_at
from tests.support.competition import ANSWER, Competition
from tests.support.engine_events import EngineEvents
from tests.support.flower import Flower, flower
from tests.support.private_queue import QUEUE, PrivateQueue, gated, statuses

pytestmark = pytest.mark.acceptance

HOST = "gpu-box"
NODE = node_name(HOST)


@pytest.fixture
def monitor(private_queue: PrivateQueue) -> Iterator[Flower]:
    with flower(private_queue.owner.broker_url, private_queue.folder) as running:
        yield running


def test_flower_shows_the_worker_and_its_runs_and_cancels_one(
    private_queue: PrivateQueue, monitor: Flower, competition: Competition, events: EngineEvents
) -> None:
    scripts = f"sleep 1; {ANSWER}", "exit 3", gated()
    good, bad, endless = (competition.docker_submission(script) for script in scripts)
    with private_queue.worker(CODALAB_HOSTNAME=HOST) as daemon:
        monitor.wait_for_worker(NODE, online=True)
        messages = [private_queue.publish(submission) for submission in (good, bad, endless)]
        events.wait(messages[2], "start")

        succeeded = monitor.wait_for_state(messages[0], "SUCCESS")
        assert (succeeded["name"], succeeded["worker"]) == (RUN_TASK, NODE)
        assert succeeded["runtime"] >= 1
        assert succeeded["received"] <= succeeded["started"] <= succeeded["succeeded"]
        failed = monitor.wait_for_state(messages[1], "FAILURE")
        assert failed["exception"].startswith("ParticipantFault(")
        assert failed["traceback"].startswith("Your submission")
        monitor.wait_for_state(messages[2], "STARTED")
        check_pages(monitor, messages, daemon.process.pid)

        monitor.post(f"task/revoke/{messages[2]}", terminate="true")
        assert statuses(private_queue.end_of(endless)) == ["running", "failed"]
        monitor.wait_for_state(messages[2], "REVOKED")

        everything = [monitor.get("tasks"), monitor.get("workers", refresh="true"), daemon.log.read_text()]
        for submission in (good, bad, endless):
            assert submission.task_args["secret"] not in str(everything)
        assert "sig=" not in str(everything)

        monitor.post(f"worker/shutdown/{NODE}")
        assert daemon.process.wait(60) == 0
    monitor.wait_for_worker(NODE, online=False)


def check_pages(monitor: Flower, messages: list[str], pid: int) -> None:
    """What an operator sees of them in a browser."""
    worker = monitor.get("workers", refresh="true", workername=NODE)[NODE]
    assert worker["stats"]["pid"] == pid
    assert [queue["name"] for queue in worker["active_queues"]] == [QUEUE]
    assert worker["registered"] == [RUN_TASK]
    assert [run["id"] for run in worker["active"]] == [messages[2]]
    assert NODE in monitor.page(f"worker/{quote(NODE)}")
    workers, tasks = (
        look_at(f"{monitor.url}/workers", "flower-workers"),
        look_at(f"{monitor.url}/tasks", "flower-tasks"),
    )
    assert NODE in workers.document
    assert "Online" in workers.document
    assert monitor.page("workers?json=1").count('"active": 1') == 1
    for message in messages:
        assert message in tasks.document
    for page in (workers, tasks):
        assert page.picture.size == (1280, 800)
        assert not page.picture.is_blank
