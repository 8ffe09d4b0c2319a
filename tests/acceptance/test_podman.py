"""Podman's Docker-compatible socket in the engine's place: what holds there, and what is refused or told otherwise."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import Finished, codalab_worker, json_lines, message
from tests.support.competition import ANSWER, CROWD, CROWDED, Competition, Submission
from tests.support.podman_engine import podman_engine
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"  # never asked
LOOK = (
    "id -u; ls /sys/class/net; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; df -P /dev/shm | tail -n 1; "
    "for place in /mnt/in /proc/sys/kernel /sys; do echo > $place/probe && echo wrote $place; done; "
    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; "
)


@pytest.fixture(scope="module")
def host(parts: Parts) -> Iterator[str]:
    with podman_engine(parts.registry) as host:
        yield host


def executed(submission: Submission, host: str, folder: Path) -> Finished:
    settings = {
        "DOCKER_HOST": host,
        "WORKER_ORGANISER_NETWORK": "none",  # a bridge needs plugins that the packages unpacked here lack
        "WORKER_MEMORY_LIMIT": "96m",
        "WORKER_PIDS_LIMIT": "64",
        "WORKER_STOP_GRACE": "1s",
        "LOG_LEVEL": "INFO",
    }
    return codalab_worker("exec", "--json", "-", stdin=message(submission), settings=settings, folder=folder)


def sentence(done: Finished) -> str:
    assert done.returncode == ExitCode.RUN_FAILED, done.stderr
    told, _, _ = json_lines(done.stdout)[-1]["extra"]["traceback"].partition("\n\n")
    return str(told)


def test_a_run_is_scored_within_the_same_walls(competition: Competition, host: str, tmp_path: Path) -> None:
    submission = competition.docker_submission(LOOK + ANSWER)
    done = executed(submission, host, tmp_path)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    assert "engine is podman" in done.stderr
    theirs, _, _ = submission.text("stdout.txt").partition("===== scoring program")
    assert theirs.splitlines()[1:3] == ["1000", "lo"]
    assert set(re.findall(r"^Cap\w+:\s+(\w+)$", theirs, re.MULTILINE)) == {"0" * 16}
    assert dict(re.findall(r"^(NoNewPrivs|Seccomp):\s+(\d)$", theirs, re.MULTILINE)) == {
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    assert str(96 << 20) in theirs.splitlines()
    assert "wrote" not in theirs
    assert submission.archive()["scores.txt"] == b"correct: 1\n"


def test_the_time_limit_holds(competition: Competition, host: str, tmp_path: Path) -> None:
    submission = competition.docker_submission("trap '' TERM; while :; do sleep 1; done", execution_time_limit=2)
    began = time.monotonic()
    done = executed(submission, host, tmp_path)
    assert sentence(done) == "Your submission was stopped: time limit of 2 s exceeded."
    assert 2 < time.monotonic() - began < 60
    assert "signal not sent" not in done.stderr


def test_the_limit_of_processes_is_told(competition: Competition, host: str, tmp_path: Path) -> None:
    submission = competition.docker_submission(f"{CROWD}; {ANSWER}")
    assert executed(submission, host, tmp_path).returncode == ExitCode.OK
    assert CROWDED in submission.read("stderr.txt")


def test_a_kill_for_memory_is_told_as_its_exit_code(competition: Competition, host: str, tmp_path: Path) -> None:
    done = executed(competition.docker_submission("exec python3 -c 'bytearray(1 << 30)'"), host, tmp_path)
    assert sentence(done) == "Your submission ended with exit code 137; its stderr says more."


@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        ({"USE_GPU": "true"}, ExitCode.UNREACHABLE, "Podman ignores requests for GPUs"),
        ({"WORKER_RUNTIME": "kata"}, ExitCode.USAGE, "Podman ignores the OCI runtime"),
    ],
)
def test_what_podman_cannot_give_is_found_out_at_the_start(
    host: str, tmp_path: Path, setting: dict[str, str], code: ExitCode, words: str
) -> None:
    done = codalab_worker("run", settings={"BROKER_URL": NO_BROKER, "DOCKER_HOST": host, **setting}, folder=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
