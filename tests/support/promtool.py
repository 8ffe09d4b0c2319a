"""Prometheus's own checker, out of Debian's package, which is not installed for it."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from worker.demo import packages
from worker.demo.places import cache_folder


def promtool() -> Path:
    """The program: one that is there, else unpacked into the cache, once."""
    if found := packages.program("promtool"):
        return Path(found)
    program = cache_folder("prometheus") / "promtool"
    with (program.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test files want it, and are worked side by side
        _have(program)
    return program


def _have(program: Path) -> None:
    if not program.exists():
        (deb,) = packages.debs(["prometheus"], "prometheus")
        unpacked = cache_folder("prometheus") / "unpacked"
        subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
        (unpacked / "usr" / "bin" / "promtool").rename(program)
        shutil.rmtree(unpacked)
        deb.unlink()
        (deb.parent / "complete").unlink()


def check(*arguments: str, folder: Path, given: bytes = b"") -> str:
    """What it says of that, where it is content; its complaints make the test fail."""
    done = subprocess.run([promtool(), *arguments], cwd=folder, input=given, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
