"""`WORKER_RUNTIME=runsc` on the real thing: a Docker engine beside the shared one that has gVisor, too."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import Finished, codalab_worker, json_lines, message
from tests.support.competition import ANSWER, PROGRAM, SCORE, Competition, Submission
from tests.support.strong_engines import gvisor_engine
from worker.demo.competition import zipped
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"  # never asked
KERNEL = b"import os; print('kernel', os.uname().release)\n"
PROGRAM_THAT_LOOKS = zipped({**PROGRAM, "score.py": SCORE + KERNEL})
LOOK = "dmesg | head -n 1; ls /sys/class/net; grep Cap /proc/self/status; " + ANSWER


@pytest.fixture(scope="module")
def gvisor_host() -> Iterator[str]:
    with gvisor_engine() as host:
        yield host


def executed(submission: Submission, host: str, folder: Path, **settings: str) -> Finished:
    settings = {"DOCKER_HOST": host, "WORKER_RUNTIME": "runsc", "WORKER_STOP_GRACE": "1s", **settings}
    return codalab_worker("exec", "--json", "-", stdin=message(submission), settings=settings, folder=folder)


def sentence(done: Finished) -> str:
    assert done.returncode == ExitCode.RUN_FAILED, done.stderr
    told, _, _ = json_lines(done.stdout)[-1]["extra"]["traceback"].partition("\n\n")
    return str(told)


def test_a_submission_runs_in_gvisor_and_is_scored_outside_of_it(
    competition: Competition, gvisor_host: str, tmp_path: Path
) -> None:
    submission = competition.docker_submission(LOOK, bundles={"program.zip": PROGRAM_THAT_LOOKS})
    done = executed(submission, gvisor_host, tmp_path)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    theirs, _, programs = submission.text("stdout.txt").partition("===== scoring program: stdout =====\n")
    assert "Starting gVisor" in theirs
    assert re.search("^lo$", theirs, re.MULTILINE)
    assert set(re.findall(r"^Cap\w+:\s+(\w+)$", theirs, re.MULTILINE)) == {"0" * 16}
    assert f"kernel {platform.release()}\n" in programs
    assert submission.archive()["scores.txt"] == b"correct: 1\n"


def test_the_time_limit_holds(competition: Competition, gvisor_host: str, tmp_path: Path) -> None:
    stubborn = "trap '' TERM; echo begun; while :; do sleep 1; done"
    submission = competition.docker_submission(stubborn, execution_time_limit=4)
    began = time.monotonic()
    done = executed(submission, gvisor_host, tmp_path)
    assert sentence(done) == "Your submission was stopped: time limit of 4 s exceeded."
    assert 4 < time.monotonic() - began < 60
    assert "begun" in submission.text("stdout.txt")


def test_running_out_of_memory_is_told_as_such(competition: Competition, gvisor_host: str, tmp_path: Path) -> None:
    submission = competition.docker_submission("exec python3 -c 'bytearray(1 << 30)'")
    done = executed(submission, gvisor_host, tmp_path, WORKER_MEMORY_LIMIT="96m")
    assert sentence(done) == "Your submission was killed: it needed more memory than the limit of 96 MiB."


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ("kata", "WORKER_RUNTIME: The container engine has no OCI runtime kata; it has "),
        ("missing", "WORKER_RUNTIME: The container engine cannot start a container by its OCI runtime missing"),
    ],
)
def test_a_runtime_that_cannot_be_had_is_found_out_at_the_start(
    gvisor_host: str, tmp_path: Path, runtime: str, words: str
) -> None:
    settings = {"BROKER_URL": NO_BROKER, "DOCKER_HOST": gvisor_host, "WORKER_RUNTIME": runtime}
    done = codalab_worker("run", settings=settings, folder=tmp_path)
    assert done.returncode == ExitCode.USAGE
    (said,) = done.stderr.splitlines()
    assert said.startswith(words)
