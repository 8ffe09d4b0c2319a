"""Logs, result metadata and updates: what of a run is for people to read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from protocol import celery_envelope
from protocol.run import Role, RunRequest, UploadSlot
from protocol.status import UPDATE_TASK, RunMetadata, State, StatusUpdate
from sandbox.engine import Stream
from sandbox.outcome import ExitReason, Outcome
from tests.support import captured
from worker.broker.updates import read_update
from worker.kept.folders import RunFolder, TempDir, TempDirTakenError
from worker.kept.records import ExecutedRun, ScoredRun, StagedRun
from worker.stages.result_metadata import result_metadata
from worker.stages.run_logs import stderr_tail, write_logs


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path)
    made.outbox.mkdir()
    return made


def wrote(folder: RunFolder, role: Role, stdout: bytes, stderr: bytes = b"") -> None:
    with folder.open_logs(role, len(folder.logs(role, Stream.STDOUT)), 1000) as logs:
        logs.write(Stream.STDOUT, stdout)
        logs.write(Stream.STDERR, stderr)


def test_both_parts_stand_under_headers(folder: RunFolder) -> None:
    wrote(folder, Role.PARTICIPANT, b"no newline at the end", b"theirs\n")
    wrote(folder, Role.SCORING, b"scored\n", b"ours")
    files = write_logs(folder, ["link: a symbolic link"])
    stdout, stderr = files[UploadSlot.STDOUT], files[UploadSlot.STDERR]
    assert stdout.read_text() == (
        "===== participant's container: stdout =====\nno newline at the end\n"
        "===== scoring program: stdout =====\nscored\n"
    )
    assert stderr.read_text().endswith(
        "===== scoring program: stderr =====\nours\n[codalab-worker] link: a symbolic link\n"
    )


def test_one_part_alone_has_no_header_and_commands_follow_each_other(folder: RunFolder) -> None:
    wrote(folder, Role.SCORING, b"first\n")
    wrote(folder, Role.SCORING, b"second\n")
    assert write_logs(folder, ())[UploadSlot.STDOUT].read_bytes() == b"first\nsecond\n"


def test_ingestion_has_logs_of_its_own_and_never_tells_its_tail(folder: RunFolder) -> None:
    wrote(folder, Role.INGESTION, b"fed\n", b"hidden\n")
    files = write_logs(folder, ())
    assert {slot: path.read_bytes() for slot, path in files.items()} == {
        UploadSlot.STDOUT: b"",
        UploadSlot.STDERR: b"",
        UploadSlot.INGESTION_STDOUT: b"fed\n",
        UploadSlot.INGESTION_STDERR: b"hidden\n",
    }
    assert stderr_tail(folder) == ""


def test_where_nothing_ran_the_logs_are_empty(folder: RunFolder) -> None:
    assert [path.read_bytes() for path in write_logs(folder, ()).values()] == [b"", b""]
    assert stderr_tail(folder) == ""


def test_the_tail_is_of_the_container_that_ran_last(folder: RunFolder) -> None:
    wrote(folder, Role.PARTICIPANT, b"", b"theirs")
    assert stderr_tail(folder) == "theirs"
    wrote(folder, Role.SCORING, b"", b"x" * 900 + b"\xff end\n")
    assert stderr_tail(folder).endswith("\ufffd end")


def scored(participant: Outcome | None, *scoring: Outcome, ingestion: tuple[Outcome, ...] = ()) -> dict[str, Any]:
    request = cast("RunRequest", SimpleNamespace(submission=participant and object()))
    executed = ExecutedRun(StagedRun(request, RunFolder(Path())), (participant,) if participant else ())
    document = yaml.safe_load(result_metadata(ScoredRun(executed, scoring, ingestion)))
    assert isinstance(document, dict)
    return document


def ended(exit_code: int, elapsed: float) -> Outcome:
    return Outcome(ExitReason.EXITED, exit_code, elapsed)


def test_metadata_of_a_docker_submission_and_its_scoring() -> None:
    assert scored(ended(0, 1.5), ended(3, 0.25)) == {
        "exitCode": 3,
        "elapsedTime": 0.25,
        "ingestionExitCode": None,
        "participantExitCode": 0,
        "participantElapsedTime": 1.5,
    }


def test_metadata_of_plain_scoring() -> None:
    assert scored(None, ended(0, 1)) == {"exitCode": 0, "elapsedTime": 1, "ingestionExitCode": None}


def test_metadata_of_several_commands_and_of_ingestion() -> None:
    assert scored(None, ended(0, 1), ended(4, 2), ingestion=(ended(5, 1),)) == {
        "exitCode": [0, 4],
        "elapsedTime": [1, 2],
        "ingestionExitCode": 5,
    }


def test_where_no_program_ran_the_participant_stands_in() -> None:
    document = scored(ended(137, 2))
    assert (document["exitCode"], document["participantExitCode"]) == (137, 137)


@pytest.mark.parametrize("name", captured.names("update-*") + captured.names("pika-update-*"))
def test_every_captured_update_is_read(name: str) -> None:
    message = captured.load(name)
    update = read_update(message.body)
    assert update is not None
    assert update.task_id == 4242
    assert "fake-secret" not in update.as_json()


def test_our_own_updates_are_read() -> None:
    mine = StatusUpdate(5, State.FAILED, RunMetadata("host"), "why", secret="s3cret")
    envelope = celery_envelope.encode(UPDATE_TASK, mine.arguments(), task_id="x")
    update = read_update(envelope.body)
    assert update is not None
    assert (update.task_id, update.status, update.traceback, update.terminal) == (5, "failed", "why", True)
    assert json.loads(update.as_json())["extra"]["metadata"]["hostname"] == "host"


@pytest.mark.parametrize("body", [b"", b"\xff", b"null", b"[]", b"{}", b"3", b'"x"', b'{"args": [1, 2]}', b"[[1,2,3]]"])
def test_what_is_no_update_is_passed_over(body: bytes) -> None:
    assert read_update(body) is None


def test_a_temp_dir_is_one_workers(tmp_path: Path) -> None:
    first = TempDir(tmp_path / "t")
    with pytest.raises(TempDirTakenError, match="SUBMISSION_TEMP_DIR"):
        TempDir(tmp_path / "t")
    first.close()
    TempDir(tmp_path / "t").close()


def test_leftover_runs_are_cleared(tmp_path: Path) -> None:
    temp_dir = TempDir(tmp_path / "t")
    with temp_dir.run_folder("../a b", keep=True) as left:
        (left.output / "file").write_text("x")
    assert left.root.parent == tmp_path / "t" / "runs"
    assert temp_dir.clear_runs() == 1
    assert not left.root.exists()
    temp_dir.close()
