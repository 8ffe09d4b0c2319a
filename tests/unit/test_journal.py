"""What a journal keeps of a run, and what becomes of one that is damaged, foreign, old or cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from protocol.faults import Fault, OrganiserFault, ParticipantFault, UnexpectedFault
from protocol.run import Role, RunRequest, UploadSlot
from protocol.status import RunMetadata, State
from protocol.urls import SignedUrl
from sandbox.engine import Image
from sandbox.gpu import GpuRequest
from sandbox.outcome import ExitReason, Outcome
from worker.kept import journal
from worker.kept.journal import Journals, RunJournal
from worker.kept.journal_record import Packed, Published, Staged, Step, Terminal
from worker.kept.records import Program, Programs, PublishedRun

REQUEST = RunRequest(
    task_id=5,
    message_id="message/../1",
    submission_id=7,
    secret="s3cret",
    bundle_url=SignedUrl("https://store/run?sig=abc"),
    uploads={UploadSlot.STDOUT: SignedUrl("https://store/out?sig=def")},
    docker_image="image",
    ingestion_docker_image="",
    submission=None,
    predict=False,
    time_limit=10,
)
OUTCOME = Outcome(ExitReason.TIME_LIMIT, 137, 1.5, oom_killed=True, note="hm")
PROGRAMS = Programs(Image("sha256:1", "team/x"), scoring=Program(Image("sha256:2", "org/y"), (("a", "b"), ("c",))))
END = Terminal(State.FAILED, RunMetadata("host", 1.5), "Your submission …\n\ntail")


def filled(journals: Journals) -> RunJournal:
    kept = journals.of(REQUEST)
    kept.note(folder="run-1", staged=Staged(PROGRAMS, ("a note",)), running_told=True)
    kept.note(gpus=GpuRequest(("0", "1")))
    kept.begun(Role.PARTICIPANT, 0)
    kept.ended(Role.PARTICIPANT, 0, OUTCOME)
    kept.begun(Role.SCORING, 1)
    kept.note(cleaned=("left out",), packed=Packed(((UploadSlot.OUTPUT, "output.zip"),), ("n",)))
    kept.note(published=Published("ParticipantFault", "Your submission …", 2.5))
    return kept


def test_all_of_it_comes_back_and_holds_no_secret(tmp_path: Path) -> None:
    kept = filled(Journals(tmp_path))
    kept.note(terminal=END, durable=True)
    found = Journals(tmp_path).of(REQUEST)
    assert found.resumed
    assert found.record == kept.record
    assert found.record.step(Role.PARTICIPANT, 0) == Step(Role.PARTICIPANT, 0, OUTCOME)
    (file,) = tmp_path.iterdir()
    assert not any(secret in file.read_text() for secret in ("s3cret", "sig=", "https:"))
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_run_that_nobody_noted_is_fresh(tmp_path: Path) -> None:
    fresh = Journals(tmp_path).of(REQUEST)
    assert not fresh.resumed
    assert list(tmp_path.iterdir()) == []


def test_another_run_under_the_same_message_id_is_not_gone_on_with(tmp_path: Path) -> None:
    filled(Journals(tmp_path))
    assert not Journals(tmp_path).of(replace(REQUEST, task_id=6)).resumed


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\x00", b'{"message_id": "x", "task_id": 1}'], ids=repr)
def test_a_damaged_journal_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    filled(Journals(tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    with capture_logs() as events:
        journals = Journals(tmp_path)
    assert journals.unconfirmed() == ()
    assert [event["event"] for event in events] == ["journal set aside, it cannot be read; its run will be worked anew"]
    assert [path.name for path in tmp_path.iterdir()] == [f"{file.stem}.damaged"]


def test_a_journal_of_another_version_is_set_aside(tmp_path: Path) -> None:
    filled(Journals(tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace('"version":1', '"version":2'))
    assert Journals(tmp_path).unconfirmed() == ()


def test_damaged_journals_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.json").write_text("?")
    Journals(tmp_path)
    assert len(list(tmp_path.iterdir())) == 20


def test_a_write_that_was_cut_off_leaves_what_was_there(tmp_path: Path) -> None:
    kept = filled(Journals(tmp_path))
    (file,) = tmp_path.iterdir()
    file.with_suffix(".new").write_text("{half")
    assert Journals(tmp_path).of(REQUEST).record == kept.record


def test_a_disk_that_takes_no_more_costs_the_record_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = filled(Journals(tmp_path))

    def full(*_: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "write_whole", full)
    kept.note(terminal=END, durable=True)
    assert kept.record.terminal == END
    assert list(tmp_path.iterdir()) == []  # an older record would tell of a run that is further by now


def test_of_a_confirmed_run_nothing_is_kept_but_its_end(tmp_path: Path) -> None:
    kept = filled(Journals(tmp_path))
    kept.note(terminal=END, durable=True)
    kept.confirmed()
    journals = Journals(tmp_path)
    assert journals.confirmed() == (REQUEST.message_id,)
    assert journals.unconfirmed() == ()
    record = journals.of(REQUEST).record
    assert (record.folder, record.steps, record.terminal and record.terminal.traceback) == ("", (), "")


def test_confirmed_runs_are_forgotten_when_they_are_too_many_or_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "KEPT_CONFIRMED", 2)
    journals = Journals(tmp_path)
    for number in range(4):
        kept = journals.of(replace(REQUEST, message_id=str(number)))
        kept.note(terminal=END)
        kept.confirmed()
    assert journals.confirmed() == ("2", "3")
    monkeypatch.setattr(journal, "KEPT_FOR", -1.0)
    assert Journals(tmp_path).confirmed() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_worked_anew_has_only_been_told_to_run(tmp_path: Path) -> None:
    kept = filled(Journals(tmp_path))
    kept.restart()
    assert list(tmp_path.iterdir()) == []
    assert not kept.resumed
    assert kept.record.running_told


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (ParticipantFault("Your submission ended."), "Your submission ended."),
        (OrganiserFault("The organiser's program ended."), "The organiser's program ended."),
        (UnexpectedFault("ref1"), UnexpectedFault("ref1").sentence),
        (None, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_is_told_in_the_same_words(fault: Fault | None, sentence: str) -> None:
    again = Published.of(PublishedRun(fault, 1.0)).run()
    assert (again.fault.sentence if again.fault else "") == sentence
    assert again.ingestion_duration == 1.0
