"""`make test`: every test; files side by side first, then what needs the machine for itself.

Three processes on two cores make each other stall, at times for longer than a lease of seconds lasts. So the few tests
that fail side by side are tried once more with nothing beside them. Who passes then is named at the end as unsteady:
something to be mended, in the test or in the worker. More than a few are no stall, and are not tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import click
import pytest

# In the order of the folders: the long files are over when tests/unit fills the last minutes. xdist's own order, those
# with the most tests first, leaves one worker alone with the longest files at the end.
SIDE_BY_SIDE = ("--numprocesses", "3", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not alone")
AGAIN = ("--last-failed", "--last-failed-no-failures", "none", "-m", "not alone")
ALONE = ("-m", "alone")
MOST_AGAIN = 5
_FAILED = Path(".pytest_cache/v/cache/lastfailed")

Run = Callable[..., int]


def main() -> int:
    code, unsteady = work(lambda *words: _pytest(*words, *sys.argv[1:]), _failed)
    for name in unsteady:
        click.echo(f"UNSTEADY {name}: failed beside others, and passed with nothing beside it; to be mended")
    return code


def work(run: Run, failed: Callable[[], Collection[str]]) -> tuple[int, list[str]]:
    """Runs it all; the exit code, and who passed only at the second try. `failed` has the names that failed last."""
    code, unsteady = run(*SIDE_BY_SIDE), []
    first = failed()
    if code == pytest.ExitCode.TESTS_FAILED and len(first) <= MOST_AGAIN:
        code = run(*AGAIN)
        unsteady = sorted(set(first) - set(failed()))
    alone = run(*ALONE)
    return code or alone, unsteady


def _pytest(*words: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *words], check=False).returncode


def _failed() -> list[str]:
    return list(json.loads(_FAILED.read_text())) if _FAILED.exists() else []


if __name__ == "__main__":
    sys.exit(main())
