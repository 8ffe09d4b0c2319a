"""The order of a run's stages and what becomes of a fault in each, with scripted stages."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from config.settings import Settings
from protocol.faults import Fault, LastingFault, ParticipantFault, PassingFault
from protocol.run import RunRequest
from protocol.status import RunMetadata, State, StatusUpdate
from protocol.urls import SignedUrl
from sandbox import labels
from sandbox.engine import ContainerSpec
from sandbox.errors import Cancelled, ContainerLost
from sandbox.profile import SecurityProfile
from sandbox.runner import Sandbox
from sandbox.slots import Share, Slots
from sandbox.testing import FakeEngine, Program
from worker.broker.updates import WithdrawnError
from worker.kept.folders import TempDir
from worker.kept.image_stock import ImageStock
from worker.kept.journal import Journals
from worker.kept.journal_record import Published, Staged, Terminal
from worker.kept.records import ExecutedRun, Programs, PublishedRun, ScoredRun, StagedRun
from worker.observers import Stage
from worker.run_control import InterruptedRunError, Interruption, RunControl
from worker.runs import course, pipeline
from worker.tools import Tools

NOT_YOURS = "It is the platform's fault, not yours."
REQUEST = RunRequest(
    task_id=5,
    message_id="message-1",
    submission_id=7,
    secret="s3cret",
    bundle_url=SignedUrl("https://store/run"),
    uploads={},
    docker_image="image",
    ingestion_docker_image="",
    submission=None,
    predict=False,
    time_limit=10,
)


class Scene:
    """A pipeline whose stages only note that they were called, and fail where told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.stages: list[Stage] = []
        self.faults: dict[str, BaseException] = {}
        self.during: dict[str, Callable[[], None]] = {}
        self.verdict: Fault | None = None
        self.withdrawn: list[Future[None]] = []
        self.control = RunControl()
        self.runs = folder / "runs"
        self.at_its_end: list[Path] = []
        self.temp_dir = TempDir(folder)
        self.engine = FakeEngine({"x": Program(duration=None)})
        self.journals = Journals(self.temp_dir.journal)
        self.faults_once: dict[str, BaseException] = {}
        tools = SimpleNamespace(
            settings=Settings(),
            updates=self,
            temp_dir=self.temp_dir,
            journals=self.journals,
            slots=Slots([Share()]),
            sandbox=Sandbox(self.engine),
            images=ImageStock(self.engine, self.temp_dir.images),
            worker_id="worker",
            walls=None,
        )
        self.tools = cast("Tools", tools)
        scripts: dict[str, Callable[..., Any]] = {
            "admit": lambda *_: None,
            "stage": lambda request, run_folder, *_: StagedRun(request, run_folder),
            "execute": lambda staged, _: ExecutedRun(staged),
            "score": lambda executed, _: ScoredRun(executed, fault=self.verdict),
            "publish": lambda scored, _: PublishedRun(scored.fault),
            "publish_logs": lambda *_: None,
        }
        for name, script in scripts.items():
            room = pipeline if name == "admit" else course
            monkeypatch.setattr(room, name, self._stage(name, script))

    def send(self, update: StatusUpdate, _provided: Callable[[], bool]) -> Future[None]:
        if self.withdrawn and update.state.is_terminal:
            self.calls.append("withdrawn")
            return self.withdrawn.pop()
        self.calls.append(f"{update.state}: {update.traceback}" if update.traceback else update.state)
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def work(self, *, last_attempt: bool = False) -> State:
        with ExitStack() as afterwards:
            told = pipeline.work(
                REQUEST, self.tools, self.control, afterwards, last_attempt=last_attempt, on_stage=self.stages.append
            )
            self.at_its_end = list(self.runs.glob("*"))
        return told.state

    def _stage(self, name: str, script: Callable[..., Any]) -> Callable[..., Any]:
        def stage(*args: Any) -> Any:
            self.calls.append(name)
            self.during.get(name, lambda: None)()
            if name in self.faults_once:
                raise self.faults_once.pop(name)
            if name in self.faults:
                raise self.faults[name]
            return script(*args)

        return stage


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path / "temp", monkeypatch)


def test_a_good_run_goes_through_its_stages_in_order(scene: Scene) -> None:
    assert scene.work() is State.FINISHED
    assert scene.calls == ["admit", "running", "stage", "execute", "score", "publish", "finished"]
    assert len(scene.at_its_end) == 1, "nobody waits for its removal before the message is settled"
    assert list(scene.runs.iterdir()) == []


def test_what_is_not_admitted_fails_without_running(scene: Scene) -> None:
    scene.faults["admit"] = LastingFault("The platform's address expired.")
    assert scene.work() is State.FAILED
    assert scene.calls == ["admit", f"failed: The platform's address expired. {NOT_YOURS}"]


def test_a_programs_failure_is_published_before_it_is_told(scene: Scene) -> None:
    scene.verdict = ParticipantFault("Your submission ended with exit code 3.")
    assert scene.work() is State.FAILED
    assert scene.calls[-2:] == ["publish", "failed: Your submission ended with exit code 3."]


@pytest.mark.parametrize("stage", ["stage", "execute", "score", "publish"])
def test_a_lasting_fault_stores_the_logs_so_far_then_fails(scene: Scene, stage: str) -> None:
    scene.faults[stage] = LastingFault("The platform said no.")
    assert scene.work() is State.FAILED
    assert scene.calls[-3:] == [stage, "publish_logs", f"failed: The platform said no. {NOT_YOURS}"]


@pytest.mark.parametrize("stage", ["stage", "execute", "score", "publish"])
def test_a_passing_fault_tells_nothing_before_the_last_attempt(scene: Scene, stage: str) -> None:
    scene.faults[stage] = PassingFault("The platform is away.")
    with pytest.raises(PassingFault):
        scene.work()
    assert scene.calls[-1] == stage
    assert list(scene.runs.iterdir()) == []


def test_a_passing_fault_on_the_last_attempt_fails(scene: Scene) -> None:
    scene.faults["publish"] = PassingFault("The platform is away.")
    assert scene.work(last_attempt=True) is State.FAILED
    assert scene.calls[-1] == f"failed: The platform is away. {NOT_YOURS}"


def test_logs_that_cannot_be_stored_do_not_keep_the_site_from_being_told(scene: Scene) -> None:
    scene.faults["stage"] = LastingFault("first")
    scene.faults["publish_logs"] = LastingFault("second")
    assert scene.work() is State.FAILED
    assert scene.calls[-1] == f"failed: first {NOT_YOURS}"


def test_a_bug_is_told_with_a_reference_and_no_detail(scene: Scene) -> None:
    scene.faults["score"] = ZeroDivisionError("inner secret")
    with capture_logs() as events:
        assert scene.work() is State.FAILED
    (reference,) = [event["reference"] for event in events if event["event"] == "unexpected error"]
    assert f"unexpected error; its operator finds it in the log under {reference}." in scene.calls[-1]
    assert "inner secret" not in scene.calls[-1]


@pytest.mark.parametrize("stage", ["stage", "execute", "publish"])
def test_a_full_disk_is_a_passing_fault_in_every_stage(scene: Scene, stage: str) -> None:
    scene.faults[stage] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PassingFault):
        scene.work()
    assert scene.work(last_attempt=True) is State.FAILED
    assert scene.calls[-1] == f"failed: The platform's worker has no room left on its disk. {NOT_YOURS}"


def test_a_run_that_gets_no_folder_is_told_an_end(scene: Scene) -> None:
    scene.runs.rmdir()
    assert scene.work() is State.FAILED
    assert scene.calls[:2] == ["admit", "running"]
    assert "unexpected error" in scene.calls[-1]


def test_a_bug_in_admission_is_told(scene: Scene) -> None:
    scene.faults["admit"] = ZeroDivisionError("inner secret")
    assert scene.work() is State.FAILED
    assert "unexpected error" in scene.calls[-1]


def test_a_bug_while_breaking_off_is_still_told(scene: Scene) -> None:
    scene.faults["stage"] = LastingFault("first")
    scene.faults["publish_logs"] = ZeroDivisionError()
    assert scene.work() is State.FAILED
    assert scene.calls[-1] == f"failed: first {NOT_YOURS}"


def test_an_interrupted_run_tells_no_end(scene: Scene) -> None:
    scene.control.interrupt()
    with pytest.raises(InterruptedRunError):
        scene.work()
    assert scene.calls == ["admit", "running"]
    assert list(scene.runs.iterdir()) == []


def lost_engine() -> PassingFault:
    fault = PassingFault("The platform's container engine lost what it ran.")
    fault.__cause__ = ContainerLost("gone")
    return fault


def test_a_run_whose_containers_are_lost_is_worked_anew_at_once(scene: Scene) -> None:
    scene.faults_once["execute"] = lost_engine()
    assert scene.work() is State.FINISHED
    once = ["stage", "execute"]
    assert scene.calls == ["admit", "running", *once, "admit", *once, "score", "publish", "finished"]
    assert len(scene.at_its_end) == 1
    assert list(scene.runs.iterdir()) == []


def test_an_engine_that_loses_run_after_run_costs_an_attempt(scene: Scene) -> None:
    scene.faults["execute"] = lost_engine()
    with pytest.raises(PassingFault):
        scene.work()
    assert scene.calls.count("stage") == 3
    assert scene.journals.unconfirmed() == ()


def test_a_passing_fault_leaves_no_journal(scene: Scene) -> None:
    scene.faults["publish"] = PassingFault("The platform is away.")
    with pytest.raises(PassingFault):
        scene.work()
    assert scene.journals.unconfirmed() == ()


def test_an_end_that_nobody_confirmed_is_told_again_in_the_same_words(scene: Scene) -> None:
    told = Terminal(State.FAILED, RunMetadata("host"), "Your submission ended.\n\ntail")
    scene.journals.of(REQUEST).note(terminal=told, folder="gone")
    assert scene.work() is State.FAILED
    assert scene.calls == ["failed: Your submission ended.\n\ntail"]
    assert scene.journals.confirmed() == (REQUEST.message_id,)


def test_an_end_that_was_withdrawn_is_sent_again_when_the_run_is_surely_ours(scene: Scene) -> None:
    scene.withdrawn.append(Future())
    scene.withdrawn[0].set_exception(WithdrawnError())
    assert scene.work() is State.FINISHED
    assert scene.calls[-2:] == ["withdrawn", "finished"]


def test_what_is_published_is_not_computed_again(scene: Scene) -> None:
    (scene.runs / "left").mkdir()
    scene.journals.of(REQUEST).note(folder="left", published=Published("ParticipantFault", "Your submission ended."))
    assert scene.work() is State.FAILED
    assert scene.calls == ["running", "failed: Your submission ended."]
    assert scene.stages == [Stage.PUBLISHING], "it takes no slot while its end waits to be told"
    assert list(scene.runs.iterdir()) == []


def test_what_is_staged_is_not_fetched_again(scene: Scene) -> None:
    (scene.runs / "left").mkdir()
    scene.journals.of(REQUEST).note(folder="left", staged=Staged(Programs(), ()), running_told=True)
    assert scene.work() is State.FINISHED
    assert scene.calls == ["execute", "score", "publish", "finished"]


def left_running(scene: Scene) -> None:
    """An earlier process's container, and another worker's."""
    (scene.runs / "left").mkdir()
    scene.journals.of(REQUEST).note(folder="left", staged=Staged(Programs(), ()), running_told=True)
    profile = SecurityProfile(memory=1 << 20, cpus=1, pids=10, shm_size=1 << 20)
    marks = {labels.WORKER: "worker", labels.FOLDER: "left"}
    for name, own in (("theirs", {**marks, labels.WORKER: "another"}), ("ours", marks)):
        container = ContainerSpec(name=name, image="x", profile=profile, labels=own)
        scene.engine.start(scene.engine.create(container))


def containers(scene: Scene) -> list[str]:
    return [held.spec.name for held in scene.engine.containers.values()]


def test_a_resumed_run_that_breaks_off_before_it_comes_to_its_container_leaves_none(scene: Scene) -> None:
    left_running(scene)
    scene.control.interrupt()
    with pytest.raises(InterruptedRunError):
        scene.work()
    assert containers(scene) == ["theirs"]


def test_the_container_of_a_resumed_run_that_is_cancelled_is_gone_before_another_has_its_slot(scene: Scene) -> None:
    left_running(scene)
    at_the_end: list[str] = []
    scene.during["publish_logs"] = lambda: at_the_end.extend(containers(scene))
    scene.control.interrupt(Interruption.CANCELLED)
    assert scene.work() is State.FAILED
    assert at_the_end == ["theirs"]


def test_a_journal_without_its_folder_is_worked_anew(scene: Scene) -> None:
    scene.journals.of(REQUEST).note(folder="gone", staged=Staged(Programs(), ()), running_told=True)
    assert scene.work() is State.FINISHED
    assert scene.calls == ["admit", "stage", "execute", "score", "publish", "finished"]


def test_what_was_left_before_the_host_was_booted_anew_is_not_trusted(scene: Scene) -> None:
    (scene.runs / "left").mkdir()
    journal = scene.journals.of(REQUEST)
    journal.note(folder="left", staged=Staged(Programs(), ()), running_told=True, boot="an earlier one")
    assert scene.work() is State.FINISHED
    assert scene.calls == ["admit", "stage", "execute", "score", "publish", "finished"]


def test_a_message_that_comes_anew_after_its_end_is_a_run_of_its_own(scene: Scene) -> None:
    assert scene.work() is State.FINISHED
    assert scene.work() is State.FINISHED
    assert scene.calls.count("stage") == 2


def test_a_cancelled_run_stores_its_logs_and_tells_the_site(scene: Scene) -> None:
    scene.control.interrupt(Interruption.CANCELLED)
    assert scene.work() is State.FAILED
    assert scene.calls == ["admit", "running", "publish_logs", "failed: Your submission was cancelled."]


def test_a_wait_that_is_cut_short_is_an_interruption(scene: Scene) -> None:
    scene.faults["stage"] = Cancelled()
    with pytest.raises(InterruptedRunError):
        scene.work()


def test_a_run_that_is_lost_at_its_very_end_tells_nothing(scene: Scene) -> None:
    scene.during["publish"] = lambda: scene.control.interrupt(Interruption.LOST)
    with pytest.raises(InterruptedRunError):
        scene.work()
    assert scene.calls[-1] == "publish"
