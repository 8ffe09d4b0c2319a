"""Podman's Docker-compatible socket, from Debian's packages, which are unpacked and not installed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.own_engine import programs_folder
from worker.demo import packages
from worker.demo.places import fresh_folder, run_folder
from worker.demo.processes import start, stop, wait_until

_PACKAGES = ("podman", "conmon", "runc", "catatonit", "libgpgme11", "libassuan0", "libsubid4")
_SHARED = "golang-github-containers-common"  # the seccomp profile
CLAMP = Path(__file__).with_name("clamp_rlimits.py")
_CONFIG = """[containers]
seccomp_profile = "{root}/usr/share/containers/seccomp.json"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
init_path = "{root}/usr/bin/catatonit"
conmon_path = ["{programs}/conmon"]
[engine.runtimes]
runc = ["{programs}/runc"]
"""


@contextmanager
def podman_engine(registry: str) -> Iterator[str]:
    """Have one for a while, as root, without any image and able to pull from that registry; give its docker host."""
    root = packages.unpacked([*_PACKAGES, _SHARED], "podman-1")
    folder = fresh_folder(run_folder() / "podman")
    host = f"unix://{folder}/podman.sock"
    argv = [f"{root}/usr/bin/podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]
    argv += ["--tmpdir", f"{folder}/tmp", "system", "service", "--time", "0", host]
    child = start("podman", argv, folder, {**os.environ, **_environment(root, folder, registry)})
    try:
        wait_until(lambda: _answers(host), child, 60)
        yield host
    finally:
        stop(child)
        subprocess.run(["umount", "-l", f"{folder}/root/overlay"], check=False, capture_output=True)
        fresh_folder(folder).rmdir()


def _environment(root: Path, folder: Path, registry: str) -> dict[str, str]:
    """Write its configuration; where packages are not installed, libraries are found by a variable."""
    libraries = f"LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu"
    programs = programs_folder(
        folder / "bin",
        # conmon starts podman at a container's end, and must hand the variable on.
        conmon=f'{libraries} exec {root}/usr/bin/conmon "$@"',
        runc=f'{sys.executable} -IS {CLAMP} "$@" && exec {root}/usr/sbin/runc "$@"',
    )
    (folder / "containers.conf").write_text(_CONFIG.format(root=root, programs=programs))
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    policy = folder / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "LD_LIBRARY_PATH": libraries.partition("=")[2],
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
    }


def _answers(host: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(5)
        probe.connect(host.removeprefix("unix://"))
        probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in probe.recv(64)
    return False
