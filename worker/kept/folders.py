"""Where things of a run lie on the disk, and the temp dir that one worker holds."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from protocol.run import Role
from sandbox.engine import Stream
from sandbox.logs import LogPair
from sandbox.wall import WallError, take_down
from worker.archives.tree import remove_tree

LOCK_NAME = "worker.lock"
"""The file in a temp dir that its owner has locked."""

_KEPT_REJECTS = 1000
_log = structlog.get_logger(__name__)


class TempDirTakenError(Exception):
    """Another worker holds this temp dir."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. `run` is what organisers' containers see as /codalab/run."""

    root: Path

    @property
    def run(self) -> Path:
        """program, input, output, temp: the run as an organiser's program sees it."""
        return self.root / "run"

    @property
    def output(self) -> Path:
        """What the program leaves: zipped to the site at the end."""
        return self.run / "output"

    @property
    def temp(self) -> Path:
        """`$tmp`."""
        return self.run / "temp"

    @property
    def written(self) -> tuple[Path, ...]:
        """The folders that are there to be written to, by whichever program."""
        return (self.output, self.temp, self.shared)

    @property
    def shared(self) -> Path:
        """`$shared`: where a code submission and an ingestion program meet."""
        return self.root / "shared"

    @property
    def hidden_ref(self) -> Path:
        """`$hidden`: reference data that the ingestion program alone may see."""
        return self.root / "hidden_ref"

    @property
    def results(self) -> Path:
        """`$input/res`: what a scoring program scores."""
        return self.run / "input" / "res"

    @property
    def empty_input(self) -> Path:
        """/mnt/in where the operator set no folder."""
        return self.root / "empty"

    @property
    def outbox(self) -> Path:
        """Logs and archives on their way to the site."""
        return self.root / "outbox"

    def logs(self, role: Role, stream: Stream) -> list[Path]:
        """What the containers of that role wrote to that stream, one file each, in their order."""
        return sorted(self.root.glob(f"{role}-*.{stream}"))

    def open_logs(self, role: Role, index: int, limit: int, *, new: bool = True) -> LogPair:
        """The log files of that container of the role, each keeping `limit` bytes; gone on with if not `new`."""
        paths = [self.root / f"{role}-{index:03}.{stream}" for stream in Stream]
        if new:
            for path in paths:
                path.unlink(missing_ok=True)  # of one that was made, but not started before the worker ended
        return LogPair.at(*paths, limit=limit, new=new)


class TempDir:
    """The worker's folder below SUBMISSION_TEMP_DIR's path, held by a lock for as long as this lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runs = path / "runs"
        self._rejected = path / "rejected"
        self.journal = path / "journal"
        """Where `worker.kept.journal` keeps its records."""
        self.images = path / "images.json"
        """Where `worker.kept.pulled_images` notes which images this worker pulled."""
        self.walls = path / "walls"
        """Where `worker.kept.walls` keeps those that no run has yet."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(path / LOCK_NAME)
        for folder in (self._runs, self._rejected, self.journal):
            folder.mkdir(mode=0o700, exist_ok=True)

    def close(self) -> None:
        """Lets go of the lock."""
        os.close(self._lock)

    def clear_runs(self, keep: Collection[str] = ()) -> int:
        """Unmounts and removes what an earlier worker left of its runs, but for the folders of those names.

        Says how many. Walls that no run had yet go, too.
        """
        leftovers = [folder for folder in self._runs.iterdir() if folder.name not in keep]
        for folder in (*leftovers, self.walls):
            take_down(folder)
            remove_tree(folder)
        return len(leftovers)

    def has_run(self, name: str) -> bool:
        """Whether there is a run's folder of that name."""
        return bool(name) and Path(name).name == name and (self._runs / name).is_dir()

    def remove_run(self, name: str) -> None:
        """Removes the run's folder of that name, if there is one."""
        if self.has_run(name):
            remove_folder(self._runs / name)

    @contextmanager
    def run_folder(self, name: str, *, keep: bool = False, resume: str = "") -> Iterator[RunFolder]:
        """A fresh folder for one run, or the one named `resume`; removed at the end unless `keep`."""
        root = self._runs / resume if resume else Path(tempfile.mkdtemp(prefix=f"{_plain(name)}-", dir=self._runs))
        folder = RunFolder(root)
        try:
            if not resume:
                for path in (folder.run, folder.output, folder.temp, folder.shared, folder.outbox, folder.empty_input):
                    path.mkdir()
            yield folder
        finally:
            if not keep:
                remove_folder(root)

    def find_run(self, name: str) -> RunFolder | None:
        """The folder of the run of that name, the latest if it has several; None where it has none."""
        found = sorted(self._runs.glob(f"{_plain(name)}-*"), key=_made_at)
        return RunFolder(found[-1]) if found else None

    def keep_rejected(self, body: bytes, name: str) -> Path | None:
        """Keeps the raw body of a message that is no run; None where a thousand are kept already, or no more can be."""
        try:
            if sum(1 for _ in self._rejected.iterdir()) >= _KEPT_REJECTS:
                return None
            handle, path = tempfile.mkstemp(prefix=f"{_plain(name)}-", suffix=".body", dir=self._rejected)
            with os.fdopen(handle, "wb") as file:
                file.write(body)
        except OSError as error:
            _log.warning("rejected message could not be kept", error=str(error))
            return None
        return Path(path)


def identity(temp_dir: Path, host: str) -> str:
    """The same after a restart or an upgrade, another for each temp dir: whose containers are whose.

    Both are as the engine's host has them, for a container's name and paths change with it.
    """
    return hashlib.sha256(f"{host}:{temp_dir.resolve()}".encode()).hexdigest()[:16]


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:64] or "run"


def _made_at(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise TempDirTakenError(
            f"Another worker holds {path.parent}: stop it, or give this one a SUBMISSION_TEMP_DIR of its own."
        ) from None
    os.truncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def remove_folder(root: Path) -> None:
    """Unmounts and removes it with all that it holds; what stays is logged, and left to the next start."""
    with suppress(OSError, WallError):
        take_down(root)
        remove_tree(root)
    if root.exists():
        _log.warning("a folder could not be removed whole", folder=str(root))
