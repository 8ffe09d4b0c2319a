"""A wall around folders: a file system of a fixed size in a file, which tells whoever writes too much `ENOSPC`.

The file is sparse: it takes what is written, not what may be. There is no journal, nothing is written ahead, and
inode tables are made as they are needed, so that a wall of any size is up in some 25 ms. Programs may be executed
from it, as from any output folder: `noexec` would break those that compile what they run. That a mount is seen by
the engine is tried once, by `why_no_wall`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from uuid import uuid4

import structlog

from sandbox.engine import ContainerEngine, ContainerSpec, Image, Mount
from sandbox.errors import SandboxError
from sandbox.profile import SecurityProfile
from sandbox.usage import Usage

_NAME, _INSIDE = "wall", "inside"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT = 60.0
_INODE = 256  # bytes
_OPTIONS = "loop,nosuid,nodev,noatime,noinit_itable"
_FORMAT = tuple(f"-q -F -m 0 -b 4096 -I {_INODE} -O ^has_journal,^resize_inode -E lazy_itable_init=1,nodiscard".split())
_MIB = 1 << 20
# What ext4 keeps for itself besides inodes, measured from 1 MiB to 200 GiB: a fiftieth for writes under way, 16 MiB
# at most, and its maps.
_KEPT, _MOST_KEPT = 50, 16 * _MIB
_MAPS, _MAPS_OF_INODES, _MAPS_OF_BYTES = 64 << 10, 32, 1000
_SPARE_INODES = 16
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOUNT_POINT = 4  # among the fields of a line of mountinfo

_log = structlog.get_logger(__name__)


class WallError(Exception):
    """No wall can be made; the message says why, in the words of mkfs or mount."""


def raise_wall(root: Path, folders: Sequence[Path], most: Usage) -> None:
    """`make_wall`, and all of these folders put behind it: `most` is for them together."""
    make_wall(root, most)
    put_behind(root, folders)


def make_wall(root: Path, most: Usage) -> None:
    """Makes one in `root`, with nothing behind it yet; `most` is what may be written there.

    Raises `WallError`, or `OSError` where the disk is full; `take_down(root)` then removes what there is of it.
    """
    base = root / _NAME
    base.mkdir(mode=0o700)  # nobody comes by the file itself
    image, inside = base / "image", base / _INSIDE
    inside.mkdir()
    with image.open("xb") as file:
        file.truncate(_image_size(most))
    inodes = str(most.names + _SPARE_INODES)
    _run("mkfs.ext4", *_FORMAT, "-N", inodes, str(image))
    _run("mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(inside))


def move_wall(root: Path, new_root: Path) -> None:
    """Moves a wall that has nothing behind it yet to another folder of the same disk. Raises `OSError`."""
    (root / _NAME).rename(new_root / _NAME)  # what is mounted below a folder goes with it


def stands(root: Path) -> bool:
    """Whether the wall that was made in `root` is there still: anybody with root's rights may have unmounted it."""
    return (root / _NAME / _INSIDE).is_mount()


def put_behind(root: Path, folders: Sequence[Path]) -> None:
    """Puts all of these folders, which are empty and below `root`, behind the wall that was made there.

    Raises `WallError`; `take_down(root)` then removes what there is of it.
    """
    for number, folder in enumerate(folders):
        behind = root / _NAME / _INSIDE / str(number)
        behind.mkdir()
        _run("mount", "--bind", str(behind), str(folder))


def take_down(root: Path) -> None:
    """Unmounts whatever is mounted below `root`, the latest first; what is busy goes when its last user does.

    No error where nothing is. Raises `WallError` where a mount stays.
    """
    if not (mounted := _mounts_below(root)):
        return
    try:
        _run("umount", "--", *reversed(mounted))
    except WallError as error:
        _log.info("unmounted while in use", reason=str(error))
        if left := _mounts_below(root):
            _run("umount", "--lazy", "--", *reversed(left))


def why_no_wall(root: Path, engine: ContainerEngine, *, image: Image | None = None) -> str:
    """Tries one in `root`, an empty folder; empty where the engine sees what is behind it, else why there can be none.

    What is mounted then is for `take_down`. `image` is an empty one, if there is one already.
    """
    walled = root / "walled"
    walled.mkdir()
    try:
        raise_wall(root, [walled], Usage(_MIB, _SPARE_INODES))
        (walled / "seen").mkdir()
        with nullcontext(image) if image else engine.empty_image() as made:
            _show(engine, made.id, walled / "seen")
    except (WallError, SandboxError, OSError) as error:
        return str(error)
    return ""


def _show(engine: ContainerEngine, image: str, folder: Path) -> None:
    """Raises `SandboxError` where the engine does not find what is behind a wall: its mounts may be others."""
    profile = SecurityProfile(memory=64 * _MIB, cpus=1, pids=16, shm_size=_MIB)
    mounts = (Mount(folder, "/seen", read_only=True),)
    name = f"codalab-wall-trial-{uuid4().hex[:12]}"
    engine.remove(engine.create(ContainerSpec(name, image, profile, command=("/none",), mounts=mounts)))


def _image_size(most: Usage) -> int:
    """Bytes of a file in whose file system that much can be written."""
    tables = (most.names + _SPARE_INODES) * _INODE
    maps = _MAPS + tables // _MAPS_OF_INODES + most.size // _MAPS_OF_BYTES
    written = most.size + tables + maps
    return written + min(written // _KEPT, _MOST_KEPT)


def _mounts_below(root: Path) -> list[str]:
    """Mount points below `root`, in the order of their mounting."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [_ESCAPED.sub(_character, line.split(" ")[_MOUNT_POINT]) for line in lines]
    return [point for point in points if Path(point).is_relative_to(root.resolve()) and point != str(root.resolve())]


def _character(escaped: re.Match[str]) -> str:
    """Blanks and the like stand in octal there."""
    return chr(int(escaped[1], 8))


def _run(program: str, *arguments: str) -> None:
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise WallError(f"{program} is not installed")
    try:
        done = subprocess.run(
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            env={"PATH": _PATH, "LC_ALL": "C"},  # and nothing of the worker's own, which holds its secrets
        )
    except subprocess.TimeoutExpired:
        raise WallError(f"{program} did not end within {_TIMEOUT:g} s") from None
    if done.returncode:
        raise WallError(f"{program}: {' '.join(done.stderr.split())}")
