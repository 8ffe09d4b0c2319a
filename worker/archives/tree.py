"""Makes what one container left fit for the next to see, and removes what nobody needs any longer."""

from __future__ import annotations

import os
import stat
from collections import Counter
from contextlib import suppress
from pathlib import Path

from worker.archives.left_out import LeftOut, Omissions
from worker.archives.walk import Found, Step, chmod, walk

_REMOVAL_PASSES = 5  # a program that still writes may add files behind our back
_READABLE = {stat.S_IFREG: 0o444, stat.S_IFDIR: 0o555}
_PERMISSIONS = 0o777  # without setuid, setgid and sticky

_Inode = tuple[int, int]


def sanitise(folder: Path) -> tuple[LeftOut, ...]:
    """Takes out what is neither a regular file nor a folder, has a bad name or is linked to elsewhere.

    The rest becomes readable by everybody and loses setuid bits. Only for a folder that no container
    writes to any longer. Raises `OSError` where something can be neither looked at nor taken out.
    """
    chmod(str(folder), _readable(folder.lstat()), kind=stat.S_IFDIR)
    omissions = Omissions()
    names = _clear(folder, omissions)
    if names:
        _cut_links(folder, names, omissions)
    return omissions.result()


def give(folder: Path, uid: int, gid: int) -> None:
    """Makes that user the owner of it and of all that it holds; follows no link.

    Only for a tree that no container has written to yet. Raises `OSError` where the worker may not.
    """
    os.chown(folder, uid, gid, follow_symlinks=False)
    for found in walk(folder):
        if found.step is not Step.LEAVE:
            os.chown(found.name, uid, gid, dir_fd=found.parent, follow_symlinks=False)


def remove_tree(folder: Path) -> None:
    """Removes it with all that it holds, unreadable folders too; no error where it is gone.

    Raises `OSError` where something stays.
    """
    remove(str(folder))


def remove(name: str, *, dir_fd: int | None = None) -> None:
    """`remove_tree` below a folder's descriptor; what is no folder is removed likewise."""
    for remaining in reversed(range(_REMOVAL_PASSES)):
        refused = _empty(name, dir_fd)
        try:
            os.rmdir(name, dir_fd=dir_fd)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            os.unlink(name, dir_fd=dir_fd)
            return
        except OSError as error:
            if not remaining:
                raise (refused or error) from None
        else:
            return


def _empty(name: str, dir_fd: int | None) -> OSError | None:
    """Removes what can be removed of a folder's contents; returns what stood against the rest."""
    refused = None
    try:
        chmod(name, stat.S_IRWXU, kind=stat.S_IFDIR, dir_fd=dir_fd)
        for found in walk(name, dir_fd=dir_fd):
            try:
                _remove_one(found)
            except FileNotFoundError:
                continue
            except OSError as error:
                refused = error
    except OSError as error:
        return error
    return refused


def _remove_one(found: Found) -> None:
    if found.step is Step.LEAF:
        os.unlink(found.name, dir_fd=found.parent)
    elif found.step is Step.LEAVE:
        os.rmdir(found.name, dir_fd=found.parent)
    elif stat.S_IMODE(found.status.st_mode) & stat.S_IRWXU != stat.S_IRWXU:
        found.chmod(stat.S_IRWXU)


def _clear(folder: Path, omissions: Omissions) -> Counter[_Inode]:
    """Sanitises but for hard links; counts the names in the tree of each file that has several."""
    names: Counter[_Inode] = Counter()
    for found in walk(folder):
        if found.step is Step.BLOCKED:
            raise PermissionError(f"may not look into {found.path!r}")
        if found.step is Step.LEAVE:
            continue
        if reason := found.flaw:
            _take_out(found, reason, omissions)
            continue
        _make_readable(found)
        if found.is_file and found.status.st_nlink > 1:
            names[_inode(found)] += 1
    return names


def _cut_links(folder: Path, names: Counter[_Inode], omissions: Omissions) -> None:
    """Takes out files that have more names than the tree holds: the others are somebody else's."""
    elsewhere: set[_Inode] = set()
    for found in walk(folder):
        inode = _inode(found)
        if not found.is_file or inode not in names:
            continue
        if found.status.st_nlink > names[inode]:
            elsewhere.add(inode)
        if inode in elsewhere:
            _take_out(found, "a hard link to a file elsewhere", omissions)


def _take_out(found: Found, reason: str, omissions: Omissions) -> None:
    omissions.add("" if omissions.full else found.path, reason)
    remove(found.name, dir_fd=found.parent)


def _make_readable(found: Found) -> None:
    mode = _readable(found.status)
    if mode != stat.S_IMODE(found.status.st_mode):
        with suppress(PermissionError, FileNotFoundError):  # another user's file, and the worker is not root
            found.chmod(mode)


def _readable(status: os.stat_result) -> int:
    return (status.st_mode | _READABLE.get(stat.S_IFMT(status.st_mode), 0)) & _PERMISSIONS


def _inode(found: Found) -> _Inode:
    return found.status.st_dev, found.status.st_ino
