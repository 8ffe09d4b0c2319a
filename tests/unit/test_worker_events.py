"""What monitors are told of a worker and its runs."""

from __future__ import annotations

import pytest

from protocol.celery_events import Event
from worker.broker.events import PERIOD, WorkerEvents
from worker.observers import RunEnd, RunEnded, RunInWork

RUN = RunInWork("an-id", 42, 2, 1795289668.5, 600.0, docker_submission=True)


class Monitor:
    def __init__(self) -> None:
        self.events = WorkerEvents()
        self.woken = 0
        self.events.start(self._wake)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.take()]

    def of_tasks(self) -> list[Event]:
        return [event for event in self.events.take() if event.kind.startswith("task-")]

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


def end(monitor: Monitor, ended: RunEnded) -> Event:
    monitor.events.run_taken(RUN)
    monitor.events.run_stage(RUN, "staging")
    monitor.events.take()
    monitor.events.run_ended(RUN, ended)
    (event,) = monitor.of_tasks()
    return event


def test_a_run_is_received_then_started_once_then_ended(monitor: Monitor) -> None:
    monitor.events.run_taken(RUN)
    for stage in ("staging", "participant", "scoring", "publishing"):
        monitor.events.run_stage(RUN, stage)
    monitor.events.run_ended(RUN, RunEnded(RunEnd.FINISHED, 3.5))
    beat = "worker-heartbeat"
    assert monitor.kinds() == ["task-received", beat, "task-started", "task-succeeded", beat]
    assert monitor.woken == 5


def test_what_is_received_is_public(monitor: Monitor) -> None:
    monitor.events.run_taken(RUN)
    (event,) = monitor.of_tasks()
    assert event.fields["args"] == "[42, {'docker_submission': True, 'predict': False, 'attempt': 2}]"
    assert event.fields["retries"] == 1


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (RunEnd.FINISHED, "task-succeeded"),
        (RunEnd.FAILED, "task-failed"),
        (RunEnd.RETRIED, "task-retried"),
        (RunEnd.CANCELLED, "task-revoked"),
        (RunEnd.GIVEN_BACK, "task-rejected"),
    ],
)
def test_each_end_has_its_event(monitor: Monitor, how: RunEnd, kind: str) -> None:
    event = end(monitor, RunEnded(how, 3.5, "OrganiserFault", "The organiser's program failed."))
    assert (event.kind, event.fields["uuid"]) == (kind, "an-id")
    if how in {RunEnd.FAILED, RunEnd.RETRIED}:
        assert event.fields["exception"] == 'OrganiserFault("The organiser\'s program failed.")'
        assert event.fields["traceback"] == "The organiser's program failed."


def test_of_a_run_that_another_worker_has_that_one_tells(monitor: Monitor) -> None:
    monitor.events.run_taken(RUN)
    monitor.events.take()
    monitor.events.run_ended(RUN, RunEnded(RunEnd.LOST, 3.5))
    assert monitor.of_tasks() == []


@pytest.mark.parametrize("started", [False, True])
def test_a_cancelled_run_was_terminated_if_it_had_begun(monitor: Monitor, started: bool) -> None:
    if started:
        assert end(monitor, RunEnded(RunEnd.CANCELLED, 1.0)).fields["terminated"] is True
    else:
        monitor.events.run_ended(RUN, RunEnded(RunEnd.CANCELLED, 0.0))
        (event,) = monitor.of_tasks()
        assert event.fields["terminated"] is False


def test_a_heartbeat_tells_what_is_in_work_as_soon_as_it_changes(monitor: Monitor) -> None:
    monitor.events.run_taken(RUN)
    monitor.events.run_ended(RUN, RunEnded(RunEnd.FINISHED, 3.5))
    busy, idle = (event for event in monitor.events.take() if event.kind == "worker-heartbeat")
    assert (busy.fields["active"], busy.fields["processed"], busy.fields["freq"]) == (1, 1, PERIOD)
    assert (idle.fields["active"], idle.fields["processed"]) == (0, 1)


def test_task_events_can_be_turned_off_and_the_workers_go_on(monitor: Monitor) -> None:
    assert monitor.events.enable_tasks(False)
    assert not monitor.events.enable_tasks(False)
    monitor.events.run_taken(RUN)
    assert monitor.kinds() == ["worker-heartbeat"]
    assert monitor.events.enable_tasks(True)
    monitor.events.run_stage(RUN, "staging")
    assert monitor.kinds() == ["task-started"]


def test_events_wait_for_a_connection_the_newest_longest(monitor: Monitor) -> None:
    for _ in range(1500):
        monitor.events.tell_worker("heartbeat")
    monitor.events.run_taken(RUN)
    kinds = monitor.kinds()
    assert (len(kinds), kinds[-2:]) == (1000, ["task-received", "worker-heartbeat"])


def test_nothing_is_kept_where_nobody_will_take_it(monitor: Monitor) -> None:
    monitor.events.run_taken(RUN)
    monitor.events.stop()
    monitor.events.run_stage(RUN, "staging")
    assert monitor.kinds() == []
