"""A run on an engine with `--userns-remap`: a container's root is nobody in particular on the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import codalab_worker, message
from tests.support.competition import PROGRAM, SCORE, Competition
from tests.support.strong_engines import REMAPPED_ROOT, remapping_engine
from worker.demo.competition import zipped
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

# Files that nobody else may read, of two users; what a container's root may do to files of the platform.
LEAVE = (
    "cat /proc/self/uid_map; printf 42 > /mnt/out/answer.txt; mkdir /mnt/out/closed; echo x > /mnt/out/closed/file; "
)
CLOSE = "chmod 600 /mnt/out/answer.txt; chmod 000 /mnt/out/closed"
MEDDLE = b"""
for place in ("/codalab/run/new", str(given / "ref" / "new"), "/codalab/run/program/new", "/codalab/run/temp/new"):
    pathlib.Path(place).write_text("written")
print((given / "res" / "closed" / "file").read_text(), pathlib.Path("/proc/self/uid_map").read_text())
"""


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with remapping_engine() as host:
        yield host


@pytest.mark.parametrize("user", ["participant", "root"])
def test_a_run_is_scored_and_leaves_nothing(competition: Competition, host: str, tmp_path: Path, user: str) -> None:
    program = zipped({**PROGRAM, "score.py": SCORE + MEDDLE})
    submission = competition.docker_submission(LEAVE + CLOSE, bundles={"program.zip": program})
    settings = {"DOCKER_HOST": host, "WORKER_PARTICIPANT_USER": user}
    done = codalab_worker("exec", "--json", "-", stdin=message(submission), settings=settings, folder=tmp_path)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    theirs, _, programs = submission.text("stdout.txt").partition("===== scoring program: stdout =====\n")
    for printed in (theirs, programs):
        assert printed.split()[-3:] == ["0", str(REMAPPED_ROOT), "65536"]
    assert submission.archive()["scores.txt"] == b"correct: 1\n"
    assert not [path for path in tmp_path.rglob("*") if path.name in {"answer.txt", "closed", "new"}]
