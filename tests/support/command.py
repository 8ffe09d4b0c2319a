"""The command line as a person runs it: in pipes, as a script would, or on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.worker_process import environment

COMMAND = (sys.executable, "-m", "worker")
_WIDTH = 100
_PATIENCE = 100.0  # seconds for a whole command on a busy machine


@dataclass(frozen=True)
class Ended:
    """How it ended. On a terminal stderr is all that was written there, and stdout what went elsewhere."""

    exit_code: int
    stdout: str
    stderr: str

    def updates(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def run(arguments: Sequence[str], settings: Mapping[str, str], folder: Path) -> Ended:
    """Runs it to its end, with pipes."""
    command = [*COMMAND, *arguments]
    env = environment(settings)
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def run_on_terminal(
    arguments: Sequence[str], settings: Mapping[str, str], folder: Path, *, piped_stdout: bool = False
) -> Ended:
    """Runs it to its end on a terminal of a hundred columns; with its stdout in a pipe, if wanted."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, _WIDTH))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment({"TERM": "xterm-256color", **settings}),
        cwd=folder,
        stdin=theirs,
        stdout=subprocess.PIPE if piped_stdout else theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = _read_all(ours)
    stdout, _ = process.communicate(timeout=_PATIENCE)
    return Ended(process.returncode, (stdout or b"").decode(), shown)


def _read_all(terminal: int) -> str:
    """All that is shown, until nobody has the terminal any more."""
    shown = bytearray()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        while True:
            try:
                data = screen.read(65536)
            except OSError:  # Linux: the other end is closed
                return shown.decode()
            if not data:
                return shown.decode()
            shown += data
