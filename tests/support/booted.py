"""systemd as the first process of namespaces of its own, for units that are to be started for real.

Its root is this host's, copied on write; what it starts is on this host's network, under this host's kernel. The only
units that it knows are a journal, the targets that every service wants, and those that a test installs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

from worker.demo import packages

_BOOT = Path(__file__).with_name("boot.sh")
_MANAGER = Path("/lib/systemd/systemd")
_LIB = _MANAGER.with_name("system")
_TARGETS = ("sysinit.target", "basic.target", "multi-user.target", "sockets.target", "shutdown.target")
_UNITS = (*_TARGETS, "systemd-journald.service", "systemd-journald.socket")
_FIRST = "[Unit]\nRequires=basic.target systemd-journald.service\nAfter=basic.target\nAllowIsolate=yes\n"
_SPACES = ("--mount", "--propagation", "unchanged", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc")
_ENTERED = ("--mount", "--pid", "--cgroup", "--uts", "--ipc", "--root", "--wd")
_CREDENTIALS = struct.Struct("3i")  # of unix(7): process, user, group
_PATIENCE = 60.0  # seconds to come up on a busy machine


@dataclass(frozen=True, slots=True)
class Booted:
    """`within` is what a command is run by to be run in there, as root."""

    within: tuple[str, ...]

    def run(self, *command: str) -> str:
        """Its stdout. Raises `CalledProcessError`."""
        done = subprocess.run([*self.within, *command], capture_output=True, text=True, timeout=_PATIENCE, check=True)
        return done.stdout.strip()

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--property", name, "--value", unit)

    def wait_for(self, unit: str, **properties: str) -> None:
        """Looks again and again until the unit has all of these."""
        deadline = time.monotonic() + _PATIENCE
        while (found := {name: self.shown(unit, name) for name in properties}) != properties:
            assert time.monotonic() < deadline, f"{found}\n{self.run('journalctl', '--unit', unit)}"
            time.sleep(0.1)


@contextmanager
def booted(folder: Path, shared: Path, *paths: Path) -> Iterator[Booted]:
    """Brought up in `folder`, gone after the block.

    `shared` and `paths` are the host's own in there; what is mounted below `shared` is seen by the host, too.
    """
    _need_systemd()
    _write_units(folder / "units")
    address = f"codalab-worker-test-{uuid4().hex}"
    script = [str(_BOOT), str(folder), str(shared), *map(str, paths)]
    with (
        _cgroup() as cgroup,
        _mount_point(shared),
        _listening(address) as news,
        (folder / "boot.log").open("wb") as log,
    ):
        joined = ["sh", "-c", 'echo $$ > "$0"/cgroup.procs; exec unshare "$@"', str(cgroup), *_SPACES, *script]
        environment = {**os.environ, "NOTIFY_SOCKET": f"@{address}"}
        with subprocess.Popen(joined, env=environment, stdout=log, stderr=log) as outside:
            try:
                first = _first_process(news)
            except TimeoutError:
                outside.kill()
                raise AssertionError((folder / "boot.log").read_text()) from None
            try:
                yield Booted(("nsenter", "--target", str(first), *_ENTERED))
            finally:
                os.kill(first, signal.SIGKILL)


def _write_units(units: Path) -> None:
    units.mkdir(parents=True)
    for name in _UNITS:
        shutil.copy(_LIB / name, units)
    (units / "default.target").write_text(_FIRST)


@contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    """For sd_notify: a container's systemd tells so that it is up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        news.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        news.bind(f"\0{address}")
        news.settimeout(_PATIENCE)
        yield news


def _first_process(news: socket.socket) -> int:
    """Waits until it is up; its number, as this process sees it, comes with the message. Raises TimeoutError."""
    told = b""
    while b"READY=1" not in told:
        told, ((_, _, credentials), *_), _, _ = news.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
    return int(_CREDENTIALS.unpack(credentials)[0])


@contextmanager
def _cgroup() -> Iterator[Path]:
    """One of cgroup v2, which is the root of all that systemd makes; its processes end with the block."""
    mounted = next(part.mountpoint for part in psutil.disk_partitions(all=True) if part.fstype == "cgroup2")
    cgroup = Path(mounted) / f"codalab-worker-test-{uuid4().hex[:8]}"
    cgroup.mkdir()
    try:
        yield cgroup
    finally:
        (cgroup / "cgroup.kill").write_text("1")
        script = 'until find "$0" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.05; done'
        subprocess.run(["bash", "-c", script, str(cgroup)], timeout=_PATIENCE, check=True)


@contextmanager
def _mount_point(path: Path) -> Iterator[None]:
    """Makes it one whose mounts are the same in all namespaces: the engine sees the walls of a worker in there."""
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _need_systemd() -> None:
    if not _MANAGER.exists():
        packages.install(["systemd"])
