"""Whole runs that end well."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Runner
from tests.support.competition import Competition
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance


def test_a_docker_submission_travels_the_whole_way(run: Runner, competition: Competition) -> None:
    submission = competition.docker_submission()
    updates = run(submission)
    assert [update.status for update in updates] == ["running", "finished"]
    assert {update.secret for update in updates} == {submission.task_args["secret"]}
    assert updates[-1].metadata["hostname"]
    output = submission.archive()
    assert output["scores.txt"] == b"correct: 1\n"
    metadata = submission.metadata()
    assert (metadata["exitCode"], metadata["participantExitCode"]) == (0, 0)
    assert 0 <= metadata["elapsedTime"] < 20
    assert 0 <= metadata["participantElapsedTime"] < 20  # by the engine's clock, which may see none pass
    assert submission.text("stdout.txt").splitlines() == [
        "===== participant's container: stdout =====",
        "predicted",
        "===== scoring program: stdout =====",
        "scored",
    ]
    assert "participant remark" in submission.text("stderr.txt")
    assert "scoring remark" in submission.text("stderr.txt")
    assert submission.text("detailed_results.html") == "<p>details</p>"


def test_a_plain_scoring_run_needs_no_docker_submission(run: Runner, competition: Competition) -> None:
    submission = competition.submission(bundles={"res.zip": zipped({"answer.txt": b"41"})})
    assert [update.status for update in run(submission)] == ["running", "finished"]
    assert submission.archive()["scores.txt"] == b"correct: 0\n"
    assert submission.text("stdout.txt") == "scored\n"
    assert "participantExitCode" not in submission.metadata()
