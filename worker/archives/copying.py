"""Copies a folder of this machine for a container to see: its files and folders, and nothing that leads elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from worker.archives.left_out import LeftOut, Omissions
from worker.archives.walk import Found, Step, walk

_FOLDER_MODE = 0o755
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_folder(source: Path, target: Path) -> tuple[LeftOut, ...]:
    """Copies what `source` holds into `target`, an empty folder; tells what had to be left out.

    Files get mode 0644 or 0755: whichever user a container runs as can read them. `target` must be no part
    of `source`, and nobody else may write there. Raises `OSError` where it cannot be written.
    """
    omissions = Omissions()
    target.chmod(_FOLDER_MODE)
    for found in walk(source):
        if found.step is Step.LEAVE:
            continue
        if reason := _obstacle(found, target / found.path):
            omissions.add(found.path, reason)
    return omissions.result()


def _obstacle(found: Found, place: Path) -> str:
    """Copies one thing; what stands in the way of that, in words, and nothing where all is well."""
    if found.step is Step.BLOCKED:
        return "may not be read"
    if found.flaw or not place.parent.is_dir():
        return found.flaw or "in a folder with a bad name"
    if found.step is Step.ENTER:
        place.mkdir()
        place.chmod(_FOLDER_MODE)
        return ""
    return _copy_file(found, place)


def _copy_file(found: Found, place: Path) -> str:
    try:
        handle = found.open_file()
    except FileNotFoundError:
        return ""
    except OSError:
        return "may not be read"
    with os.fdopen(handle, "rb", buffering=0) as content, os.fdopen(os.open(place, _NEW_FILE), "wb") as copy:
        shutil.copyfileobj(content, copy, 1 << 20)
        os.fchmod(copy.fileno(), 0o755 if found.status.st_mode & 0o111 else 0o644)
    return ""
