"""What dead workers left: containers and folders. The broker lists no queues, but lease queues expire by themselves."""

from __future__ import annotations

import fcntl
from pathlib import Path

from config.settings import Settings
from sandbox import labels
from sandbox.engine import ContainerEngine
from sandbox.errors import FolderUnseen
from worker.kept.folders import identity
from worker.preflight.engine import engine_of
from worker.preflight.lines import CheckLine, Lines, ok, warning

_NAME = "leftovers"
# Of commands that make a folder of their own and remove it at their end.
_COMMAND_FOLDERS = ("exec-*", "try-*")
_SHOWN = 5


def look_at_leftovers(settings: Settings) -> Lines:
    """Of this worker, and of others on the same engine that have ended."""
    folder = settings.submission_temp_dir
    found = [*_folders(folder)]
    with engine_of(settings) as engine:
        if engine is not None:
            found += _containers(engine, folder)
    yield from found or [ok(_NAME, "none")]


def holds(folder: Path) -> bool:
    """Whether a worker that runs now holds this temp dir."""
    try:
        with (folder / "worker.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _folders(folder: Path) -> list[CheckLine]:
    if holds(folder):
        return [ok(_NAME, f"a worker runs here now (process {_owner(folder)})")]
    lines = []
    if runs := [path.name for path in _found(folder / "runs", "*")]:
        found = f"{len(runs)} folders of runs that nobody works on: {_some(runs)}"
        lines.append(warning(_NAME, found, "codalab-worker run (its start deals with them)"))
    if others := [str(path) for pattern in _COMMAND_FOLDERS for path in _found(folder, pattern)]:
        mend = f"If no codalab-worker exec or try runs now: rm -r {' '.join(others)}"
        lines.append(warning(_NAME, f"{len(others)} folders of commands", mend))
    return lines


def _containers(engine: ContainerEngine, folder: Path) -> list[CheckLine]:
    try:
        worker_id = identity(engine.host_paths.of(folder), engine.host_facts().name)
    except FolderUnseen:  # then no worker ever ran with it, and the line of the temp dir says why none will
        return []
    own = engine.find_containers({labels.WORKER: worker_id})
    if not own or holds(folder):
        return []
    found = f"{len(own)} containers of this worker, which does not run: {_some([name[:12] for name in own])}"
    return [warning(_NAME, found, "codalab-worker run (its start deals with them)")]


def _found(folder: Path, pattern: str) -> list[Path]:
    """None where the folder is not there, or goes meanwhile: another check makes it for a moment to try it."""
    try:
        return list(folder.glob(pattern))
    except FileNotFoundError:
        return []


def _owner(folder: Path) -> str:
    return (folder / "worker.lock").read_text(encoding="utf-8", errors="replace").strip() or "unknown"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more
