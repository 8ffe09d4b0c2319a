"""Docker engines with stronger walls than the shared one: gVisor beside runc, and a remapped root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.own_engine import Bridge, own_engine, programs_folder
from worker.demo import packages

# KVM hangs on a machine without it, and this release has no systrap; its network would need one of its own.
GVISOR = "--platform=ptrace --network=none"
MISSING = "/nonexistent/runtime"
REMAPPED_ROOT = 200000
_USER, _GROUP = "nobody", "nogroup"
# The engine reads the ranges of ids from two files of the host, which stay as they are: it alone sees others.
_WITH_RANGES = 'mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec "$@"'


@contextmanager
def gvisor_engine() -> Iterator[str]:
    """One with Debian's gVisor as the runtime `runsc`, and one named `missing` whose program is not there."""
    root = packages.unpacked(["runsc"], "runsc")
    with TemporaryDirectory() as folder:
        programs = programs_folder(Path(folder), runsc=f'exec {root}/usr/bin/runsc {GVISOR} "$@"')
        runtimes = (f"--add-runtime=runsc={programs}/runsc", f"--add-runtime=missing={MISSING}")
        with own_engine(Bridge("codalab-gv0", "10.198.8.1/24"), runtimes) as host:
            yield host


@contextmanager
def remapping_engine() -> Iterator[str]:
    """One whose containers' root is the user 200000 of the host."""
    with TemporaryDirectory() as folder:
        ranges = Path(folder, "ranges")
        ranges.write_text(f"{_USER}:{REMAPPED_ROOT}:65536\n")
        within = ("unshare", "--mount", "--propagation=slave", "sh", "-c", _WITH_RANGES, "sh", str(ranges))
        bridge = Bridge("codalab-ns0", "10.198.9.1/24")
        with own_engine(bridge, [f"--userns-remap={_USER}:{_GROUP}"], within=within) as host:
            yield host
