"""README.md and docs/operating.md as tests read them: the commands that they say have been tried."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "operating.md")
_BLOCK = re.compile(r"^```sh tried (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> dict[str, str]:
    """The blocks by their names."""
    found = [block for path in _DOCUMENTS for block in _BLOCK.findall(path.read_text("utf-8"))]
    assert len(dict(found)) == len(found), "two blocks have the same name"
    return dict(found)


def run(
    name: str,
    changes: Mapping[str, str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    within: Sequence[str] = (),
    timeout: float = 120,
) -> str:
    """Runs that block in `folder`, with each key of `changes`, which must stand in it, replaced; returns its stdout.

    `within` is a command that runs others elsewhere.
    """
    script = commands()[name]
    for old, new in changes.items():
        assert old in script, f"{old} does not stand in the block {name}"
        script = script.replace(old, new)
    command = [*within, "bash", "-euo", "pipefail", "-c", f"cd {shlex.quote(str(folder))}\n{script}"]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout
