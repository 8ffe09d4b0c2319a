"""Every kind of run that a CodaLab site sends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import Runner
from tests.support.competition import Competition, Submission
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

PREDICT = {"run.txt": {"program": "code.zip", "input": "data.zip"}, "input.txt": {}}
DATA = zipped({"numbers.txt": b"1 2 3"})
LOOK = "ls /codalab/run /codalab /codalab/run/input 2>&1 | sort -u"


def program(script: str, **files: bytes) -> bytes:
    """A program bundle whose command is that shell script."""
    return zipped({"metadata": b"command: sh $program/run.sh\n", "run.sh": script.encode(), **files})


def prediction(competition: Competition, code: bytes, **changes: Any) -> Submission:
    bundles = {"code.zip": code, "data.zip": DATA, **changes.pop("bundles", {})}
    documents = {**PREDICT, **changes.pop("documents", {})}
    return competition.submission(bundles=bundles, documents=documents, predict=True, **changes)


def with_ingestion(competition: Competition, code: bytes, ingestion: bytes, **changes: Any) -> Submission:
    run = {**PREDICT["run.txt"], "ingestion_program": "ingestion.zip", "hidden_ref": "hidden.zip"}
    bundles = {"ingestion.zip": ingestion, "hidden.zip": zipped({"answers.txt": b"hidden answers"})}
    logs = {
        f"ingestion_program_{stream}_url": competition.store.url(f"{competition.container}/ingestion-{stream}", "cw")
        for stream in ("output", "stderr")
    }
    return prediction(competition, code, bundles=bundles, documents={"run.txt": run}, **logs, **changes)


def test_a_code_submission_predicts_from_input_that_it_cannot_change(run: Runner, competition: Competition) -> None:
    script = """
    cp $1/numbers.txt $2/answer.txt; touch $1/x || echo input is read-only; touch $3/x || echo code is read-only
    id -u; ls /sys/class/net
    """
    code = zipped({"metadata": b"command: sh $program/run.sh $input $output $program\n", "run.sh": script.encode()})
    submission = prediction(competition, code)
    assert [update.status for update in run(submission)] == ["running", "finished"]
    assert submission.archive()["answer.txt"] == b"1 2 3"
    assert submission.text("stdout.txt").splitlines() == ["input is read-only", "code is read-only", "1000", "lo"]
    assert submission.metadata()["exitCode"] == 0


def test_results_that_are_submitted_become_the_output(run: Runner, competition: Competition) -> None:
    submission = prediction(competition, zipped({"answer.txt": b"42", "more/deep.txt": b"x"}))
    assert [update.status for update in run(submission)] == ["running", "finished"]
    archive = submission.archive()
    assert (archive["answer.txt"], archive["more/deep.txt"]) == (b"42", b"x")
    assert submission.metadata()["exitCode"] is None


def test_a_docker_submission_predicts_from_the_phases_input(run: Runner, competition: Competition) -> None:
    submission = competition.docker_submission(
        "cp /mnt/in/numbers.txt /mnt/out/answer.txt",
        bundles={"data.zip": DATA},
        documents={"run.txt": {"program": "dead.zip", "input": "data.zip"}, "input.txt": {}},
        predict=True,
        docker_image="",
    )
    assert [update.status for update in run(submission)] == ["running", "finished"]
    assert submission.archive()["answer.txt"] == b"1 2 3"
    assert submission.metadata()["participantExitCode"] == 0


def test_ingestion_feeds_a_code_submission_and_alone_sees_what_is_hidden(run: Runner, competition: Competition) -> None:
    ingestion = zipped(
        {
            "metadata": b"command: sh $program/run.sh $shared $hidden $output\n",
            "run.sh": b"cat $2/answers.txt; echo question > $1/question; until [ -e $1/answer ]; do sleep 0.05; done\n"
            b"cp $1/answer $3/answer.txt; id -u",
        }
    )
    code = zipped(
        {
            "metadata": b"command: sh $program/run.sh $shared\n",
            "run.sh": b"until [ -e $1/question ]; do sleep 0.05; done; cat $1/question; cat /codalab/hidden_ref/* \n"
            b"ls /codalab /codalab/run; cat /codalab/run/hidden_ref/*; echo 42 > $1/answer",
        }
    )
    submission = with_ingestion(competition, code, ingestion)
    updates = run(submission)
    assert [update.status for update in updates] == ["running", "finished"]
    assert updates[-1].metadata["ingestion_program_duration"] > 0
    assert submission.archive()["answer.txt"] == b"42\n"
    assert submission.metadata()["ingestionExitCode"] == 0
    theirs = submission.text("stdout.txt")
    assert theirs.splitlines()[0] == "question"
    assert "hidden" not in theirs
    assert competition.store.get(f"{competition.container}/ingestion-output").decode() == "hidden answers0\n"


def test_a_failing_submission_does_not_leave_ingestion_waiting(run: Runner, competition: Competition) -> None:
    ingestion = program("echo waiting; sleep 600")
    submission = with_ingestion(competition, program("echo wrong >&2; exit 3"), ingestion, execution_time_limit=600)
    updates = run(submission)
    assert updates[-1].status == "failed"
    assert updates[-1].traceback.startswith("Your submission ended with exit code 3")


def test_a_failing_ingestion_is_the_organisers_and_tells_nothing_hidden(run: Runner, competition: Competition) -> None:
    ingestion = program("cat $0 >&2; echo hidden >&2; exit 4")
    submission = with_ingestion(competition, program("sleep 600"), ingestion, execution_time_limit=600)
    updates = run(submission)
    assert updates[-1].traceback.startswith("The organiser's ingestion program ended with exit code 4")
    assert "hidden" not in updates[-1].traceback
    assert submission.metadata()["ingestionExitCode"] == 4


def test_code_without_a_command_is_run_by_ingestion_alone(run: Runner, competition: Competition) -> None:
    ingestion = zipped({"metadata": b"command: sh $submission_program/model.sh $output\n", "unused": b""})
    submission = with_ingestion(competition, zipped({"model.sh": b"echo 42 > $1/answer.txt"}), ingestion)
    assert [update.status for update in run(submission)] == ["running", "finished"]
    assert submission.archive()["answer.txt"] == b"42\n"


def test_ingestion_runs_beside_scoring(run: Runner, competition: Competition) -> None:
    scoring = zipped(
        {
            "metadata": b"command: sh $program/score.sh $shared $output\n",
            "score.sh": b"until [ -e $1/ready ]; do sleep 0.05; done; echo 'correct: 1' > $2/scores.txt",
        }
    )
    ingestion = zipped({"metadata": b"command: sh -c 'touch $shared/ready'\n"})
    submission = competition.submission(
        bundles={"program.zip": scoring, "ingestion.zip": ingestion, "res.zip": zipped({"answer.txt": b"42"})},
        documents={"run.txt": {"program": "program.zip", "input": "input.txt", "ingestion_program": "ingestion.zip"}},
    )
    assert [update.status for update in run(submission)] == ["running", "finished"]
    assert submission.metadata()["ingestionExitCode"] == 0


def test_commands_run_in_turn_and_stop_at_the_first_failure(run: Runner, competition: Competition) -> None:
    commands = b"command:\n- echo one\n- sh -c 'exit 5'\n- echo three\n"
    submission = competition.submission(
        bundles={"program.zip": zipped({"metadata": commands}), "res.zip": zipped({"answer.txt": b"42"})}
    )
    updates = run(submission)
    assert updates[-1].traceback.startswith("The organiser's scoring program ended with exit code 5")
    assert submission.text("stdout.txt") == "one\n"
    assert submission.metadata()["exitCode"] == [0, 5]
    assert len(submission.metadata()["elapsedTime"]) == 2


def test_an_allowance_over_several_runs_is_the_time_limit_that_is_left(run: Runner, competition: Competition) -> None:
    allowance: dict[str, Any] = {"max_execution_time_limit": 100, "execution_time_limit": 50}
    late = competition.docker_submission("sleep 30", previous_execution_time=98, **allowance)
    assert "time limit of 2 s exceeded" in run(late)[-1].traceback
    spent = competition.docker_submission(previous_execution_time=100, **allowance)
    updates = run(spent)
    assert [update.status for update in updates] == ["failed"]
    assert updates[0].traceback.startswith("Your submission cannot run: earlier runs have used up all the time")
