"""The temp dir and the cache: writable, roomy, on a real disk, and seen by the engine under the same path."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from config.settings import Settings
from sandbox.engine import ContainerEngine
from sandbox.errors import FolderUnseen, SandboxError
from sandbox.folder_check import check_folder
from worker.compose_kept import is_cache_exposed
from worker.preflight.engine import engine_of
from worker.preflight.lines import CheckLine, Lines, failed, ok, warning

_GIB = 1 << 30
_IN_MEMORY = {"tmpfs", "ramfs"}
_ON_A_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "virtiofs"}


def look_at_temp_dir(settings: Settings) -> Lines:
    """Everything about SUBMISSION_TEMP_DIR; what is made for this goes again."""
    folder = settings.submission_temp_dir
    try:
        with made_for_now(folder):
            _write(folder)
            yield ok("temp dir", f"{folder} is writable, {_kind(folder)}")
            yield from room_lines("free disk", folder, settings.worker_min_free_disk, "WORKER_MIN_FREE_DISK")
            yield from _seen_by_engine(settings, folder)
    except OSError as error:
        mend = f"mkdir -p {folder} && chmod 700 {folder}, as the user that the worker runs as; or SUBMISSION_TEMP_DIR."
        yield failed("temp dir", f"{folder} cannot be written to: {error.strerror}", mend)


def look_at_cache(settings: Settings) -> Lines:
    """Everything about SUBMISSION_CACHE_DIR."""
    folder = settings.submission_cache_dir
    if folder is None:
        yield ok("cache", "off (SUBMISSION_CACHE_DIR)")
        return
    if is_cache_exposed(settings):
        found = f"{folder} is in WORKER_PARTICIPANT_INPUT_DIR, where submissions would read it"
        yield failed("cache", found, "Choose a SUBMISSION_CACHE_DIR elsewhere.")
        return
    size = int(settings.submission_cache_dir_max_size_in_gb * _GIB)
    try:
        with made_for_now(folder):
            _write(folder)
            yield ok("cache", f"{folder} is writable, {_kind(folder)}")
            yield from room_lines(
                "cache", folder, size - _used(folder / "bundles"), "SUBMISSION_CACHE_DIR_MAX_SIZE_IN_GB", fatal=False
            )
    except OSError as error:
        mend = f"mkdir -p {folder}, as the user that the worker runs as; or take SUBMISSION_CACHE_DIR out."
        yield failed("cache", f"{folder} cannot be written to: {error.strerror}", mend)


def look_at_input_dir(settings: Settings) -> Lines:
    """WORKER_PARTICIPANT_INPUT_DIR, where it is set."""
    folder = settings.worker_participant_input_dir
    if folder is None:
        return
    if folder.is_dir():
        yield ok("input dir", f"{folder} is there")
    else:
        yield failed("input dir", f"{folder} is no folder", "Correct WORKER_PARTICIPANT_INPUT_DIR, or make the folder.")


def room_lines(name: str, folder: Path, wanted: int, setting: str, *, fatal: bool = True) -> Lines:
    """Whether `wanted` bytes are free there, and some files can be made."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        found = f"{_gib(free)} free at {folder}, {_gib(wanted)} wanted ({setting})"
        mend = f"docker image prune -a; or remove what else fills {mount_point(folder)}; or lower {setting}."
        yield (failed if fatal else warning)(name, found, mend)
    else:
        yield ok(name, f"{_gib(free)} free at {folder}")
    if (state := os.statvfs(folder)).f_files and not state.f_favail:
        yield failed(name, f"no file can be made at {folder}: no inode is free", "df -i tells where they are.")


def mount_point(folder: Path) -> Path:
    """Where the file system that holds the folder is mounted."""
    return next(path for path in (folder, *folder.parents) if path.is_mount())


def file_system(folder: Path) -> str:
    """Its type, as the kernel calls it; empty where it is not told."""
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    return mounts.get(str(mount_point(folder)), "")


def _kind(folder: Path) -> str:
    return file_system(folder) or "unknown file system"


@contextmanager
def made_for_now(folder: Path) -> Iterator[None]:
    """Has the folder there; what had to be made goes again, so that the daemon makes it as its own user."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):  # a worker has begun to use it
                path.rmdir()


def _used(folder: Path) -> int:
    """Bytes of the files in it; a worker may put and remove some meanwhile."""
    used = 0
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):
            used += path.stat().st_size
    return used


def _write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"check")
        file.flush()


def _seen_by_engine(settings: Settings, folder: Path) -> Lines:
    kind = file_system(folder)
    if kind in _IN_MEMORY:
        yield warning("temp dir", f"{folder} is in memory ({kind}): runs compete with it", "Choose a folder on a disk.")
    if kind in _ON_A_NETWORK:
        yield warning("temp dir", f"{folder} is on a network ({kind}): locks may not hold", "Take a local disk.")
    with engine_of(settings) as engine:
        if engine is None:
            return
        yield _canary(engine, folder)


def _canary(engine: ContainerEngine, folder: Path) -> CheckLine:
    try:
        check_folder(engine, folder)
    except FolderUnseen as error:
        mend = (
            "Choose a SUBMISSION_TEMP_DIR that the engine's host has, too: no private /tmp (systemd's PrivateTmp), and "
            f"in a container one that is mounted from the host (--volume HOST_FOLDER:{folder})."
        )
        return failed("temp dir", str(error), mend)
    except SandboxError as error:
        return failed("temp dir", str(error), "See the engine's log: journalctl -u docker")
    return ok("temp dir", f"the engine sees the same folder, at {engine.host_paths.of(folder)}")


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
