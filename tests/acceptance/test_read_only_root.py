"""`WORKER_READ_ONLY_ROOT` through a whole run: the image is closed, `/tmp` is sized, and the output works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import codalab_worker, json_lines, message
from tests.support.competition import ANSWER, PROGRAM, SCORE, Competition
from worker.demo.competition import zipped
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

PLACES = ("/", "/etc", "/usr", "/root", "/var", "/mnt", "/mnt/in", "/opt", "/proc/sys/kernel", "/sys")
# As root, so that nothing but the wall itself can be what refuses.
TRY = "id -u; for place in {}; do mkdir -p $place 2>/dev/null; echo > $place/probe && echo wrote $place; done; ".format(
    " ".join(PLACES)
)
TMP = "df -P /tmp | tail -n 1; dd if=/dev/zero of=/tmp/full bs=1M count=100; printf 'echo ran' > /tmp/x; rm /tmp/full; "
RUN = "printf '#!/bin/sh\\necho program in tmp ran\\n' > /tmp/x; chmod +x /tmp/x; /tmp/x; "
WRITING_SCORE = SCORE + b"pathlib.Path('/opt-of-organiser').write_text('written'); print('organisers may write')\n"


def test_a_submission_can_write_to_its_output_and_to_a_sized_tmp_only(
    competition: Competition, parts: Parts, tmp_path: Path
) -> None:
    submission = competition.docker_submission(
        TRY + TMP + RUN + ANSWER, bundles={"program.zip": zipped({**PROGRAM, "score.py": WRITING_SCORE})}
    )
    settings = {
        "DOCKER_HOST": parts.docker_host,
        "WORKER_READ_ONLY_ROOT": "true",
        "WORKER_MEMORY_LIMIT": "128m",
        "WORKER_PARTICIPANT_USER": "root",
    }
    done = codalab_worker("exec", "--json", "-", stdin=message(submission), settings=settings, folder=tmp_path)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    assert [line["status"] for line in json_lines(done.stdout)] == ["running", "finished"]
    printed, _, programs = submission.text("stdout.txt").partition("===== scoring program: stdout =====\n")
    _, uid, tmp, ran, predicted = printed.splitlines()
    assert (uid, ran, predicted) == ("0", "program in tmp ran", "predicted")  # and wrote nowhere
    assert tmp.split()[1:2] == [str(64 * 1024)]  # KiB: half of the memory
    errors = submission.text("stderr.txt")
    assert errors.count("Read-only file system") >= len(PLACES) - 3  # /proc/sys, /sys and absent ones say otherwise
    assert "No space left on device" in errors
    assert "organisers may write" in programs
    assert submission.archive()["scores.txt"] == b"correct: 1\n"
