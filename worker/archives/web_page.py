"""The page that a program leaves for people: `detailed_results.html`, else the first `.html` there is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

from worker.archives.walk import Found, walk

_SUFFIX = ".html"
_DETAILED_RESULTS = "detailed_results.html"
_PRIVATE = "private"

_Rank = tuple[bool, int, str]


def open_web_page(folder: Path) -> BinaryIO | None:
    """Opens the page of `folder`; None where there is none.

    First is the least deep, then the first by name; `private` is not looked into. The folder may still be
    written to, by somebody hostile: only a regular file counts, opened where it was found, through no link.
    Raises `OSError` where `folder` cannot be read.
    """
    handle = _open_page(folder)
    return None if handle is None else os.fdopen(handle, "rb")


def copy_web_page(folder: Path, target: Path, *, limit: int) -> bool:
    """Copies the page of a folder that nobody writes to any longer; False where there is none of `limit` bytes at most.

    Raises `OSError` where `folder` cannot be read or `target` not be written.
    """
    page = open_web_page(folder)
    if page is None:
        return False
    with page:
        if os.fstat(page.fileno()).st_size > limit:
            return False
        with target.open("wb") as copy:
            shutil.copyfileobj(page, copy)
    return True


def _open_page(folder: Path) -> int | None:
    best: tuple[_Rank, int] | None = None
    for found in walk(folder):
        rank = _rank(found)
        if not _is_page(found) or (best and best[0] <= rank):
            continue
        try:
            handle = found.open_file()
        except OSError:
            continue  # it went away, or became something else
        if best:
            os.close(best[1])
        best = (rank, handle)
    return best[1] if best else None


def _rank(found: Found) -> _Rank:
    return (found.path != _DETAILED_RESULTS, len(found.folders), found.path)


def _is_page(found: Found) -> bool:
    top = found.folders[0] if found.folders else found.name
    return found.is_file and found.name.lower().endswith(_SUFFIX) and top != _PRIVATE
