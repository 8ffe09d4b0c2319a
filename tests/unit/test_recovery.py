"""What a start finds of an earlier process: whose it is, and until when it waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.settings import Settings
from protocol.run import Role, RunRequest
from protocol.status import RunMetadata, State
from protocol.urls import SignedUrl
from sandbox import labels
from sandbox.engine import ContainerSpec
from sandbox.gpu import GpuRequest, dealt_out
from sandbox.profile import SecurityProfile
from sandbox.runner import Sandbox
from sandbox.slots import Share, Slots
from sandbox.testing import FakeEngine, Program
from worker.kept.folders import TempDir
from worker.kept.journal import Journals
from worker.kept.journal_record import Published, Staged, Terminal
from worker.kept.records import Programs
from worker.runs.recovery import Recovery
from worker.tools import Tools

PROFILE = SecurityProfile(memory=1 << 20, cpus=1, pids=10, shm_size=1 << 20)
REQUEST = RunRequest(
    task_id=5,
    message_id="run",
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


class Left:
    """A temp dir and an engine as an earlier process left them."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine({"x": Program(duration=None)})
        self.temp_dir = TempDir(folder)
        self.runs = folder / "runs"
        self.slots = Slots([Share(gpus) for gpus in dealt_out(("0", "1"), 1)])
        self.journals = Journals(self.temp_dir.journal)
        self.released: list[str] = []

    def run(self, name: str, *, journal: bool = True, worker: str = "me", **noted: Any) -> str:
        """One that was in work; returns its container."""
        (self.runs / name).mkdir(exist_ok=True)
        if journal:
            request = replace(REQUEST, message_id=name)
            self.journals.of(request).note(folder=name, staged=Staged(Programs(), ()), **noted)
        marks = {labels.WORKER: worker, labels.FOLDER: name, labels.ROLE: Role.PARTICIPANT.value}
        container = self.engine.create(ContainerSpec(name=f"{name}-{worker}", image="x", profile=PROFILE, labels=marks))
        self.engine.start(container)
        return container

    def recovery(self) -> Recovery:
        self.journals = Journals(self.temp_dir.journal)
        tools = SimpleNamespace(
            worker_id="me",
            sandbox=Sandbox(self.engine),
            temp_dir=self.temp_dir,
            journals=self.journals,
            slots=self.slots,
            images=SimpleNamespace(release=self.released.append),
            settings=Settings(),
        )
        recovery = Recovery(cast("Tools", tools))
        recovery.sweep()
        return recovery

    def waiting(self) -> list[str]:
        return [record.message_id for record in self.journals.unconfirmed()]

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.runs.iterdir())


@pytest.fixture
def left(tmp_path: Path) -> Left:
    return Left(tmp_path)


def test_what_has_a_journal_stays_and_all_else_of_this_worker_goes(left: Left) -> None:
    kept, _orphan, anothers = left.run("kept"), left.run("orphan", journal=False), left.run("kept", worker="another")
    left.recovery()
    assert set(left.engine.containers) == {kept, anothers}
    assert left.folders() == ["kept"]
    assert left.waiting() == ["kept"]


def test_a_journal_without_its_folder_goes_unless_only_the_end_is_to_be_told(left: Left) -> None:
    told = Terminal(State.FINISHED, RunMetadata("host"), "")
    for name in ("lost", "ended"):
        left.run(name)
        (left.runs / name).rmdir()
    left.journals.of(replace(REQUEST, message_id="ended")).note(terminal=told)
    left.recovery()
    assert left.waiting() == ["ended"]


def test_a_container_goes_whose_run_has_come_to_its_end(left: Left) -> None:
    left.run("told", terminal=Terminal(State.FAILED, RunMetadata("host"), "The platform's engine was away."))
    left.recovery()
    assert left.engine.containers == {}
    assert left.folders() == left.waiting() == ["told"]


def test_what_is_not_held_any_more_goes_without_a_word(left: Left) -> None:
    mine, _anothers = left.run("mine"), left.run("anothers")
    recovery = left.recovery()
    recovery.claim("mine")
    recovery.give_up()
    assert set(left.engine.containers) == {mine}
    assert left.folders() == left.waiting() == ["mine"]
    assert left.released == ["anothers"]  # the images that were kept for it


def test_what_was_claimed_is_not_taken_away_again(left: Left) -> None:
    mine = left.run("mine")
    recovery = left.recovery()
    recovery.claim("mine")
    recovery.give_up()
    assert set(left.engine.containers) == {mine}
    assert left.waiting() == ["mine"]


def test_where_runs_are_leased_a_lease_is_waited_for_no_longer_than_it_lasts(
    left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.recovery.RETURNED_WITHIN", 0.01)
    left.run("mine")
    recovery = left.recovery()
    recovery.connected(leased=True)
    assert recovery._timer
    recovery._timer.join(20)
    assert left.engine.containers == {}


def test_the_time_for_messages_runs_from_the_first_connection(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runs.recovery.CLAIM_WITHIN", 0.01)
    left.run("mine")
    recovery = left.recovery()
    recovery.connected(leased=False)
    timer = recovery._timer
    assert timer
    timer.join(20)
    assert left.engine.containers == {}
    assert left.folders() == []


def test_an_engine_that_is_away_then_leaves_it_to_the_next_start(left: Left) -> None:
    left.run("mine")
    recovery = left.recovery()
    left.engine.unreachable = True
    recovery.give_up()
    assert left.folders() == []
    left.engine.unreachable = False
    left.recovery()
    assert left.engine.containers == {}


ZERO, ONE = (Share(GpuRequest((name,))) for name in "01")


def test_a_container_that_runs_keeps_its_gpu(left: Left) -> None:
    left.run("mine", gpus=ZERO.gpus)
    left.run("over", gpus=ONE.gpus, published=Published())
    recovery = left.recovery()
    with left.slots.take("new") as theirs, left.slots.take("mine") as mine:
        assert (theirs, mine) == (ONE, ZERO)
    recovery.give_up()
    with left.slots.take("a") as first, left.slots.take("b") as second:
        assert (first, second) == (ZERO, ONE)


def test_no_gpu_is_kept_for_what_ended_with_the_hosts_earlier_life(left: Left) -> None:
    """Two runs may have noted the same one: the results of the first were stored while the second computed."""
    for name in ("stored", "computed"):
        left.run(name, gpus=ZERO.gpus, boot="an earlier one")
    left.engine.restart()
    recovery = left.recovery()
    assert recovery.computing == 0
    with left.slots.take("stored") as first, left.slots.take("computed") as second:
        assert (first, second) == (ZERO, ONE)


def test_gpus_of_a_run_that_does_not_come_are_free_again(left: Left) -> None:
    left.run("mine", gpus=ZERO.gpus)
    left.recovery().give_up()
    with left.slots.take("a") as first, left.slots.take("b") as second:
        assert (first, second) == (ZERO, ONE)


def test_cpus_are_kept_as_the_container_has_them(left: Left) -> None:
    left.run("mine", cpuset="2-3")
    left.recovery()
    with left.slots.take("mine") as mine:
        assert mine == Share(cpuset="2-3")


def test_a_slot_is_not_free_while_the_containers_of_a_run_go_on_that_waits_for_its_message(left: Left) -> None:
    for name in ("here", "gone"):
        left.run(name)
    left.engine.signal(left.run("ended"), "SIGKILL")
    looks: list[int] = []
    recovery = left.recovery()
    recovery.on_given_up = lambda: looks.append(len(left.engine.containers))
    assert recovery.computing == 2
    recovery.claim("here")
    assert recovery.computing == 1
    assert looks == []
    recovery.give_up()
    assert recovery.computing == 0
    assert looks == [1]  # the container of the one that was claimed
