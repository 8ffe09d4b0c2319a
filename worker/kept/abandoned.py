"""What `exec` and `try` left behind where they were killed: each had a temp dir, and by it an identity, of its own.

A temp dir whose lock nobody holds has no living owner. One without a lock file, or whose file is empty yet, is
just being made.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from sandbox import labels
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxError
from sandbox.sweep import remove_leftovers
from sandbox.wall import take_down
from worker.archives.tree import remove_tree
from worker.kept.folders import LOCK_NAME, identity

PREFIXES = ("exec-", "try-")
"""Of the names of such temp dirs, below SUBMISSION_TEMP_DIR."""

_log = structlog.get_logger(__name__)


def remove_abandoned(engine: ContainerEngine, parent: Path) -> None:
    """Removes containers and folders of commands below that folder that are no more; never fails."""
    for folder in _candidates(parent):
        try:
            with _ownerless(folder) as free:
                if free:
                    _remove(engine, folder)
        except (OSError, SandboxError) as error:
            _log.warning("left of an earlier command, and not removed", folder=folder.name, reason=str(error))


def _candidates(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.name.startswith(PREFIXES) and not path.is_symlink()]
    except OSError:
        return []


@contextmanager
def _ownerless(folder: Path) -> Iterator[bool]:
    """Whether nobody holds that temp dir; while the block lasts nobody can."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield False
        return
    try:
        yield os.fstat(handle).st_size > 0 and _locks(handle)
    finally:
        os.close(handle)


def _locks(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(engine: ContainerEngine, folder: Path) -> None:
    owner = identity(engine.host_paths.of(folder), engine.host_facts().name)
    containers = remove_leftovers(engine, {labels.WORKER: owner})
    take_down(folder)
    remove_tree(folder)
    _log.warning("removed what a command that was killed had left", folder=folder.name, containers=containers)
