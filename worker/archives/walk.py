"""Walks through folders that a container wrote: nothing is followed, nothing blocks, no depth is too much.

Every name is looked up below the descriptor of the folder that it was listed in, and `..` is only
believed where it leads back to the very folder that was left, so a walk cannot be led out of its
tree, not even by a program that moves folders about meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from unicodedata import category

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}

_FLAWS = {
    stat.S_IFREG: "",
    stat.S_IFDIR: "",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Step(Enum):
    """What a walk has come upon."""

    LEAF = auto()  # anything but a folder
    ENTER = auto()  # a folder, before what it holds
    LEAVE = auto()  # the same folder, after that
    BLOCKED = auto()  # in place of its contents and LEAVE: a folder that we may not open


@dataclass(frozen=True, slots=True)
class Found:
    """One thing in a tree, `name` in the folder that `parent` is a descriptor of.

    `parent` and `folders` (the names from the top down to there) hold until the walk goes on.
    """

    step: Step
    parent: int
    folders: Sequence[str]
    name: str
    status: os.stat_result

    @property
    def path(self) -> str:
        """Its path below the top of the walk."""
        return "/".join((*self.folders, self.name))

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def flaw(self) -> str:
        """Why it should not be taken over, in words for its maker; empty for plain files and folders."""
        if is_unreadable(self.name):
            return "a name with control characters or bytes that are not UTF-8"
        return _FLAWS.get(stat.S_IFMT(self.status.st_mode), "neither a file nor a folder")

    def open_file(self) -> int:
        """A descriptor to read the regular file by. Raises `OSError` where it is none, or no longer."""
        handle = os.open(self.name, _FILE, dir_fd=self.parent)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file")

    def chmod(self, mode: int) -> None:
        """Sets the permissions of this very thing, never of what a link in its place leads to."""
        chmod(self.name, mode, kind=stat.S_IFMT(self.status.st_mode), dir_fd=self.parent)


def walk(top: Path | str, *, dir_fd: int | None = None) -> Iterator[Found]:
    """Everything below `top`, names in order; what vanishes meanwhile is passed over.

    Raises `OSError` where `top` is no folder (a link is none) or may not be read.
    """
    walking = _Walk(os.open(top, _FOLDER, dir_fd=dir_fd))
    try:
        yield from walking.steps()
    finally:
        walking.close()


def is_unreadable(name: str) -> bool:
    """True for a name or path with control characters, or bytes that are no UTF-8 (category Cs in Python)."""
    return not name.isprintable() and any(category(char) in {"Cc", "Cs"} for char in name)


def chmod(name: str, mode: int, *, kind: int, dir_fd: int | None = None) -> None:
    """Sets the permissions of what is of that kind (`stat.S_IFDIR`, …), never through a link.

    Linux has no such call: a descriptor that only names the thing stands in. Raises `OSError`.
    """
    handle = os.open(name, _HANDLE, dir_fd=dir_fd)
    try:
        if stat.S_IFMT(os.fstat(handle).st_mode) == kind:
            Path(f"/proc/self/fd/{handle}").chmod(mode)
    finally:
        os.close(handle)


class _Walk:
    """Where a walk is: one open descriptor, whatever the depth."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._folders: list[str] = []
        self._levels = [_Level(handle, None)]

    def close(self) -> None:
        os.close(self._handle)

    def steps(self) -> Iterator[Found]:
        while True:
            level = self._levels[-1]
            name = next(level.names, None)
            if name is not None:
                yield from self._meet(name)
            elif level.entered:
                yield self._up(level.entered)
            else:
                return

    def _meet(self, name: str) -> Iterator[Found]:
        try:
            status = os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return
        is_folder = stat.S_ISDIR(status.st_mode)
        yield self._found(Step.ENTER if is_folder else Step.LEAF, name, status)
        if is_folder:
            try:
                self._down(name, status)
            except PermissionError:
                yield self._found(Step.BLOCKED, name, status)
            except OSError as error:
                if error.errno not in _NO_FOLDER:
                    raise

    def _down(self, name: str, status: os.stat_result) -> None:
        handle = os.open(name, _FOLDER, dir_fd=self._handle)
        try:
            level = _Level(handle, (name, status))
        except BaseException:
            os.close(handle)
            raise
        os.close(self._handle)
        self._handle = handle
        self._folders.append(name)
        self._levels.append(level)

    def _up(self, entered: tuple[str, os.stat_result]) -> Found:
        handle = os.open("..", _FOLDER, dir_fd=self._handle)
        os.close(self._handle)
        self._handle = handle
        self._levels.pop()
        self._folders.pop()
        if _identity(handle) != self._levels[-1].identity:
            raise OSError(errno.ESTALE, "the folder was moved while it was walked")
        return self._found(Step.LEAVE, *entered)

    def _found(self, step: Step, name: str, status: os.stat_result) -> Found:
        return Found(step, self._handle, self._folders, name, status)


class _Level:
    """One folder on the way down: which it is, the names yet to be met, and how it was entered."""

    def __init__(self, handle: int, entered: tuple[str, os.stat_result] | None) -> None:
        self.identity = _identity(handle)
        self.names = iter(sorted(os.listdir(handle)))
        self.entered = entered


def _identity(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino
