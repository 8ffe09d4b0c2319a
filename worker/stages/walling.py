"""Puts the folders that a participant's container writes to behind a wall, where this worker may mount."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import structlog

from protocol.faults import ParticipantFault
from sandbox.logs import size
from sandbox.wall import WallError, put_behind, take_down
from worker.archives.copying import copy_folder
from worker.archives.tree import remove_tree
from worker.kept.disk import is_full
from worker.kept.folders import RunFolder
from worker.kept.walls import Walls

_log = structlog.get_logger(__name__)


def wall_off(folder: RunFolder, folders: Sequence[Path], walls: Walls, begun: Future[None] | None) -> None:
    """One wall around all of them; what they hold already moves behind it. Without one, the watch has to do.

    Raises `ParticipantFault` where what the site sent in place of a docker submission's results does not fit.
    """
    given = [_set_aside(path, folder.root / f"given-{number}") for number, path in enumerate(folders)]
    try:
        if begun:
            begun.result()
        else:
            walls.make(folder.root)
        put_behind(folder.root, folders)
    except WallError as error:
        _log.warning("no wall for this run, its output is watched only", reason=str(error))
        take_down(folder.root)
    for path, aside in zip(folders, given, strict=True):
        if aside:
            _bring_back(aside, path, walls.most.size)


def _set_aside(path: Path, aside: Path) -> Path | None:
    """Moves what the folder holds, which is most often nothing, out of it."""
    if not any(path.iterdir()):
        return None
    path.rename(aside)
    path.mkdir()
    return aside


def _bring_back(aside: Path, path: Path, limit: int) -> None:
    try:
        copy_folder(aside, path)
    except OSError as error:
        if not (path.is_mount() and is_full(error)):
            raise
        larger = f"larger than the limit of {size(limit)} for output"
        raise ParticipantFault(f"Your submission's results are {larger}.") from error
    remove_tree(aside)
