"""`codalab-worker` as a person or a script calls it: arguments, an environment, two streams, an exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.competition import Submission
from tests.support.worker_process import COMMAND, environment

Finished = subprocess.CompletedProcess[str]
_LONGEST = 100.0


def codalab_worker(
    *arguments: str, settings: Mapping[str, str], folder: Path, stdin: str = "", timeout: float = _LONGEST
) -> Finished:
    """One command, in that folder, with its temp dir below it."""
    env = environment({"SUBMISSION_TEMP_DIR": str(folder / "temp"), **settings})
    command = [*COMMAND, *arguments]
    return subprocess.run(
        command, input=stdin, env=env, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
    )


def message(submission: Submission) -> str:
    """The text of a MESSAGE.json."""
    return json.dumps([submission.task_id, submission.task_args])


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
