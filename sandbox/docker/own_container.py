"""The container that this process runs in, if it does: its id, and what it shares with the engine's host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.errors import NotFound

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import translated
from sandbox.host_paths import SAME_HOST, HostPaths, SharedFolder

_MOUNTINFO = Path("/proc/self/mountinfo")
# The engine mounts these three into every container, out of a folder that has the container's id for its name.
# Any other mount may have such a path in it and mean nothing.
_OF_THE_ENGINE = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
_ID = re.compile(r"/containers/([0-9a-f]{64})/")


def found_host_paths(api: EngineClient) -> HostPaths:
    """Where the mounts of the container around this process lie on the engine's host, if it is one of that engine's."""
    own = own_container_id()
    if own is not None:
        with translated("looking for its own container"), suppress(NotFound):  # which may be another engine's
            return HostPaths(shared_folders(api.inspect_container(own)))
    return SAME_HOST


def own_container_id(mountinfo: Path = _MOUNTINFO) -> str | None:
    """The id of the container around this process; None on a host, and where there is no Linux.

    Measured with engine 20.10: unlike the host's name and the control group, this holds for every network mode,
    `--hostname` and cgroup namespace.
    """
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next(_ids(lines), None)


def _ids(lines: list[str]) -> Iterator[str]:
    for line in lines:
        fields = line.split(" ")  # proc(5): the fourth is the path within the file system, the fifth the mount point
        if len(fields) > 4 and fields[4] in _OF_THE_ENGINE and (found := _ID.search(fields[3])):  # noqa: PLR2004
            yield found[1]


def shared_folders(inspected: Mapping[str, Any]) -> tuple[SharedFolder, ...]:
    """The mounts of an inspected container: binds, and volumes by where the engine keeps them."""
    return tuple(
        SharedFolder(Path(mount["Destination"]), Path(mount["Source"]) if mount.get("Source") else None)
        for mount in inspected.get("Mounts") or ()
    )
