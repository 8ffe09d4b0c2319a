"""`codalab-worker check` as an operator calls it, possibly in a world of its own (another clock, a private mount)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.worker_process import COMMAND, environment


@dataclass(frozen=True)
class Checked:
    """How it ended, and its lines."""

    exit_code: int
    said: str
    lines: tuple[Mapping[str, str], ...]

    def states(self, name: str) -> list[str]:
        return [line["state"] for line in self.lines if line["name"] == name]

    def only_failure(self, name: str) -> Mapping[str, str]:
        """The one failed line, which must be of that check and tell the mend."""
        (line,) = [line for line in self.lines if line["state"] == "failed"]
        assert line["name"] == name
        assert line["mend"]
        return line

    def warning(self, name: str) -> Mapping[str, str]:
        (line,) = [line for line in self.lines if line["name"] == name and line["state"] == "warning"]
        assert line["mend"]
        return line


def check(settings: Mapping[str, str], folder: Path, *, within: Sequence[str] = (), **more: str) -> Checked:
    """Runs it with `--json`; `within` is a command that runs another, `more` are further settings."""
    env = environment({"SUBMISSION_TEMP_DIR": str(folder / "temp"), **settings, **more})
    command = [*within, *COMMAND, "check", "--json"]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    return Checked(done.returncode, done.stdout + done.stderr, tuple(json.loads(done.stdout)["checks"]))
