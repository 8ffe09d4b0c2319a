"""What becomes of a delivery, with a scripted `work` in place of the pipeline."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protocol.codalab import RUN_TASK
from protocol.faults import PassingFault
from protocol.status import RunMetadata, State, StatusUpdate
from sandbox import labels
from sandbox.engine import ContainerSpec
from sandbox.profile import SecurityProfile
from sandbox.runner import Sandbox
from sandbox.slots import Share, Slots
from sandbox.testing import FakeEngine, Program
from worker.broker.delivery import ATTEMPTS_HEADER, Delivery, Settlement
from worker.kept.folders import TempDir
from worker.kept.image_stock import ImageStock
from worker.kept.journal import Journals
from worker.kept.journal_record import Record, Terminal
from worker.observers import Observers, RunEnd, RunEnded, RunInWork, Stage
from worker.run_control import InterruptedRunError
from worker.runs import attempt
from worker.runs.handling import Handler
from worker.runs.pipeline import Told
from worker.runs.recovery import Recovery
from worker.tools import Tools

PATIENCE = 20.0
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


class SureClaim:
    is_sure = True

    def wait(self, _given_up: Callable[[], bool]) -> bool:
        return True

    def wake(self) -> None:
        raise AssertionError("nobody waits")


class Settler:
    def __init__(self) -> None:
        self.settled: list[tuple[Settlement, str]] = []
        self.let_go: set[str] = set()
        self.looks = 0

    def settle(self, delivery: Delivery, how: Settlement) -> None:
        self.settled.append((how, delivery.hold))

    def is_held(self, delivery: Delivery) -> bool:
        return delivery.hold not in self.let_go

    def look_again(self) -> None:
        self.looks += 1

    def claim(self, _which: Callable[[], Delivery]) -> SureClaim:
        return SureClaim()


class Updates:
    def __init__(self) -> None:
        self.sent: list[StatusUpdate] = []

    def send(self, update: StatusUpdate, _provided: Callable[[], bool]) -> Future[None]:
        self.sent.append(update)
        future: Future[None] = Future()
        future.set_result(None)
        return future


class Observer:
    def __init__(self) -> None:
        self.taken: list[RunInWork] = []
        self.stages: list[tuple[str, str]] = []
        self.ended: list[tuple[RunInWork, RunEnded]] = []

    def run_taken(self, run: RunInWork) -> None:
        self.taken.append(run)

    def run_stage(self, run: RunInWork, stage: str) -> None:
        self.stages.append((run.message_id, stage))

    def run_ended(self, run: RunInWork, ended: RunEnded) -> None:
        self.ended.append((run, ended))


class Desk:
    """A handler with one slot, everything around it in sight."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settler = Settler()
        self.updates = Updates()
        self.folder = folder
        self.worked: list[tuple[str, bool]] = []
        self.idle = 0
        self.observer = Observer()
        self.script: Callable[[], State] = lambda: State.FINISHED
        self.afterwards: Callable[[], None] = lambda: None
        settings = SimpleNamespace(codalab_hostname="host", worker_default_time_limit=600.0)
        self.temp_dir = TempDir(folder)
        self.journals = journals = Journals(self.temp_dir.journal)
        self.engine = FakeEngine({"x": Program(duration=None)})
        self.slots = Slots([Share(cpuset="0")])
        tools = SimpleNamespace(
            settings=settings,
            updates=self.updates,
            temp_dir=self.temp_dir,
            journals=journals,
            worker_id="me",
            sandbox=Sandbox(self.engine),
            images=ImageStock(self.engine, self.temp_dir.images),
            slots=self.slots,
        )
        monkeypatch.setattr(attempt, "work", self._work)
        recovery = Recovery(cast("Tools", tools))
        self.handler = Handler(
            cast("Tools", tools),
            self.settler,
            beside=1,
            on_idle=self._on_idle,
            recovery=recovery,
            observers=Observers([self.observer]),
        )

    def deliver(self, body: bytes, headers: dict[str, object] | None = None) -> list[tuple[Settlement, str]]:
        self.delivery = Delivery("7", False, body, headers or {}, JSON)
        self.handler.on_delivery(self.delivery)
        self.handler.close()
        self.temp_dir.close()
        return self.settler.settled

    def _work(
        self, request: Any, _tools: Any, _control: Any, afterwards: ExitStack, *, last_attempt: bool, on_stage: Any
    ) -> Told:
        self.on_stage = on_stage
        afterwards.callback(self.afterwards)
        self.worked.append((request.message_id, last_attempt))
        return Told(self.script())

    def _on_idle(self) -> None:
        self.idle += 1


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path / "temp", monkeypatch)


def message(args: Any = None, **envelope: Any) -> bytes:
    task_args = {"bundle_url": "https://store/run", "docker_image": "image", "secret": "s3cret", "predict": False}
    return json.dumps(
        {"task": RUN_TASK, "id": "message-1", "args": args or [5, task_args], "kwargs": {}, **envelope}
    ).encode()


def raising(error: BaseException) -> Callable[[], State]:
    def script() -> State:
        raise error

    return script


def test_a_run_that_ended_is_acknowledged(desk: Desk) -> None:
    assert desk.deliver(message()) == [(Settlement.ACK, "7")]
    assert desk.worked == [("message-1", False)]
    assert desk.idle == 1


def test_a_run_is_settled_before_anything_of_it_is_taken_away(desk: Desk) -> None:
    def look() -> None:
        assert desk.handler.busy == 0
        seen.extend((*desk.settler.settled, desk.idle, len(desk.observer.ended)))

    seen: list[object] = []
    desk.afterwards = look
    desk.deliver(message())
    assert seen == [(Settlement.ACK, "7"), 0, 1]
    assert desk.idle == 1


def test_a_run_that_is_settled_has_its_thread_until_nothing_of_it_is_left(desk: Desk) -> None:
    """Else a message would wait in a busy worker, and a shutdown for ever where a disk or an engine hangs."""

    def look() -> None:
        figures.append((desk.handler.busy, desk.handler.room, desk.handler.wait_idle(0)))
        two_at_it.wait(PATIENCE)
        figures.append((desk.handler.busy, desk.handler.room, desk.handler.wait_idle(0)))
        two_have_looked.wait(PATIENCE)

    figures: list[tuple[int, int, bool]] = []
    two_at_it, two_have_looked = threading.Barrier(2), threading.Barrier(2)
    desk.afterwards = look
    for number in ("1", "2"):
        desk.handler.on_delivery(Delivery(number, False, message(id=number), {}, JSON))
    desk.handler.close()
    assert figures[-2:] == [(0, 0, False)] * 2
    assert (desk.handler.room, desk.handler.wait_idle(0)) == (1, True)
    assert desk.settler.looks == 2, "there is room again"


def test_a_bug_in_taking_away_what_a_run_left_stops_no_slot(desk: Desk) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    desk.afterwards = fail
    assert desk.deliver(message()) == [(Settlement.ACK, "7")]
    assert desk.idle == 1


def test_a_run_whose_containers_have_ended_takes_no_slot(desk: Desk) -> None:
    def figures() -> tuple[int, int, int]:
        return desk.handler.busy, desk.handler.busy_slots, desk.handler.room

    def script() -> State:
        desk.on_stage(Stage.SCORING)
        assert figures() == (1, 1, 0)
        desk.on_stage(Stage.PUBLISHING)
        assert figures() == (1, 0, 1)
        return State.FINISHED

    desk.script = script
    assert desk.deliver(message()) == [(Settlement.ACK, "7")]
    assert desk.observer.stages == [("message-1", "scoring"), ("message-1", "publishing")]
    assert desk.settler.looks == 2, "and again when it is gone"


def test_no_more_runs_are_in_hand_than_their_results_may_wait(desk: Desk) -> None:
    def first() -> State:
        desk.on_stage(Stage.PUBLISHING)
        desk.script = second
        desk.handler.on_delivery(Delivery("8", False, message(id="message-2"), {}, JSON))
        assert at_work.wait(PATIENCE)
        return State.FINISHED

    def second() -> State:
        rooms.append(desk.handler.room)
        desk.on_stage(Stage.PUBLISHING)
        rooms.append(desk.handler.room)
        at_work.set()
        return State.FINISHED

    rooms: list[int] = []
    at_work = threading.Event()
    desk.script = first
    desk.handler.on_delivery(Delivery("7", False, message(), {}, JSON))
    assert at_work.wait(PATIENCE)
    desk.handler.close()
    assert rooms == [0, 0]
    assert sorted(hold for _how, hold in desk.settler.settled) == ["7", "8"]


def test_a_passing_fault_is_another_attempt(desk: Desk) -> None:
    desk.script = raising(PassingFault("away"))
    assert desk.deliver(message()) == [(Settlement.RETRY, "7")]


def test_the_third_attempt_is_the_last(desk: Desk) -> None:
    desk.deliver(message(), {ATTEMPTS_HEADER: 2})
    assert desk.worked == [("message-1", True)]


def test_an_interrupted_run_is_given_back(desk: Desk) -> None:
    desk.script = raising(InterruptedRunError())
    assert desk.deliver(message()) == [(Settlement.GIVE_BACK, "7")]


def test_a_bug_costs_an_attempt_so_that_the_site_is_told_an_end(desk: Desk) -> None:
    desk.script = raising(ZeroDivisionError())
    assert desk.deliver(message()) == [(Settlement.RETRY, "7")]


def test_a_bug_after_the_site_was_told_the_end_ends_it_all_the_same(desk: Desk) -> None:
    told = Terminal(State.FINISHED, RunMetadata("host"), "", confirmed_at=1.0)
    desk.journals.write(Record("message-1", 5, terminal=told))
    desk.script = raising(ZeroDivisionError())
    assert desk.deliver(message()) == [(Settlement.ACK, "7")]


def test_a_refusal_that_cannot_be_told_is_settled_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_update: StatusUpdate) -> Future[None]:
        raise ZeroDivisionError

    monkeypatch.setattr(desk.updates, "send", broken)
    assert desk.deliver(message([5, {"secret": "s3cret"}])) == [(Settlement.REJECT, "7")]


def test_what_is_no_run_is_kept_and_rejected(desk: Desk) -> None:
    assert desk.deliver(b"not json \xff") == [(Settlement.REJECT, "7")]
    (kept,) = (desk.folder / "rejected").iterdir()
    assert kept.read_bytes() == b"not json \xff"
    assert desk.updates.sent == []


def test_where_the_site_can_be_told_it_is_told(desk: Desk) -> None:
    assert desk.deliver(message([5, {"secret": "s3cret"}])) == [(Settlement.REJECT, "7")]
    (update,) = desk.updates.sent
    assert (update.task_id, update.state, update.secret) == (5, State.FAILED, "s3cret")
    assert "bundle_url" in update.traceback


def test_a_refused_docker_command_is_the_participants_and_is_acknowledged(desk: Desk) -> None:
    args = [5, {"bundle_url": "https://store/run", "docker_image": "i", "secret": "s3cret", "predict": False,
                "submit_docker_command": "docker run --privileged image"}]  # fmt: skip
    assert desk.deliver(message(args)) == [(Settlement.ACK, "7")]
    (update,) = desk.updates.sent
    assert update.traceback.startswith("Your submission")
    assert "--privileged" in update.traceback
    assert list((desk.folder / "rejected").iterdir()) == []


def test_what_expired_in_the_queue_is_dropped(desk: Desk) -> None:
    assert desk.deliver(message(expires="2020-01-01T00:00:00+00:00")) == [(Settlement.ACK, "7")]
    assert desk.worked == []


def test_a_run_whose_hosts_died_three_times_is_told_so_and_not_worked(desk: Desk) -> None:
    deaths = [{"reason": "expired", "queue": "q.lease.a.120s", "count": 2}, {"reason": "rejected", "count": 9}]
    assert desk.deliver(message(), {ATTEMPTS_HEADER: 1, "x-death": deaths}) == [(Settlement.ACK, "7")]
    assert desk.worked == []
    (update,) = desk.updates.sent
    assert update.state is State.FAILED
    assert "3 times" in update.traceback
    assert "It is the platform's fault, not yours." in update.traceback


DEATHS: dict[str, object] = {"x-death": [{"reason": "expired", "queue": "q.lease.a.120s", "count": 3}]}


def test_what_an_earlier_process_left_of_a_run_that_is_refused_goes_and_its_share_is_free(desk: Desk) -> None:
    folder = desk.folder / "runs" / "left"
    folder.mkdir()
    desk.journals.write(Record("message-1", 5, folder="left", cpuset="0"))
    desk.slots.reserve("message-1", Share(cpuset="0"))
    profile = SecurityProfile(memory=1, cpus=1, pids=1, shm_size=1)
    marks = {labels.WORKER: "me", labels.FOLDER: "left"}
    desk.engine.start(desk.engine.create(ContainerSpec("left", "x", profile, labels=marks)))
    assert desk.deliver(message(), DEATHS) == [(Settlement.ACK, "7")]
    assert desk.worked == []
    assert desk.engine.containers == {}
    assert not folder.exists()
    assert desk.journals.unconfirmed() == ()
    with desk.slots.take() as share:
        assert share == Share(cpuset="0")


def test_an_end_that_an_earlier_process_came_to_is_told_however_many_hosts_have_died(desk: Desk) -> None:
    desk.journals.write(Record("message-1", 5, terminal=Terminal(State.FINISHED, RunMetadata("host"), "")))
    desk.deliver(message(), DEATHS)
    assert desk.worked == [("message-1", True)]
    assert desk.updates.sent == []


def test_a_message_that_was_cancelled_before_it_came_is_told_so_and_not_worked(desk: Desk) -> None:
    assert not desk.handler.cancel("message-1")
    assert desk.handler.revoked() == ("message-1",)
    assert desk.deliver(message()) == [(Settlement.ACK, "7")]
    assert desk.worked == []
    assert [update.traceback for update in desk.updates.sent] == ["Your submission was cancelled."]
    assert [ended.end for _, ended in desk.observer.ended] == [RunEnd.CANCELLED]


def test_a_run_in_work_is_cancelled_and_observers_see_it(desk: Desk) -> None:
    def script() -> State:
        (run,) = desk.handler.active()
        assert (run.message_id, run.attempt) == ("message-1", 1)
        assert desk.handler.cancel("message-1")
        return State.FINISHED

    desk.script = script
    desk.deliver(message())
    assert [run.message_id for run in desk.observer.taken] == ["message-1"]
    assert desk.handler.active() == ()


def test_a_lost_run_settles_nothing(desk: Desk) -> None:
    def script() -> State:
        desk.handler.lost(desk.delivery)
        assert desk.handler.room == 0  # its containers may be there still
        raise InterruptedRunError

    desk.script = script
    assert desk.handler.room == 1
    assert desk.deliver(message()) == []
    assert (desk.handler.room, desk.settler.looks) == (1, 2)
    assert [ended.end for _, ended in desk.observer.ended] == [RunEnd.LOST]
    assert desk.idle == 1


@pytest.mark.parametrize(("body", "is_run"), [
    (message(), True), (b"not json", False), (message([5, {"secret": "s"}]), False),
    (message([5, {"bundle_url": "https://s/r", "docker_image": "i", "secret": "s", "predict": False,
                  "submit_docker_command": "docker run --privileged image"}]), True),
])  # fmt: skip
def test_only_what_can_be_understood_is_a_run(desk: Desk, body: bytes, is_run: bool) -> None:
    assert desk.handler.is_run(Delivery("1", redelivered=False, body=body, properties=JSON)) is is_run
    desk.handler.close()
    desk.temp_dir.close()
