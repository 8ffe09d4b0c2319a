"""What an engine says of itself, out of its answers to `GET /info` and `GET /version`; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sandbox.engine_facts import EngineReport, HostFacts

# With --userns-remap the engine keeps its data in a folder named after the host's ids of a container's root.
_REMAPPED = re.compile(r"/(\d+)\.(\d+)/?$")
_LIMITS = {"MemoryLimit": "memory", "PidsLimit": "processes"}


def host_facts(info: Mapping[str, Any], version: Mapping[str, Any]) -> HostFacts:
    """The facts that defaults and preflight need."""
    security = _security(info)
    return HostFacts(
        name=info.get("Name", ""),
        engine_version=info.get("ServerVersion", ""),
        cpus=int(info["NCPU"]),
        memory=int(info["MemTotal"]),
        os_type=info.get("OSType", ""),
        swap_limit=bool(info.get("SwapLimit")),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        cdi=bool(info.get("CDISpecDirs")),
        podman=any("Podman" in str(part.get("Name")) for part in version.get("Components") or ()),
        rootless="rootless" in security,
        remapped_root=_remapped_root(info) if "userns" in security else None,
        limits_not_held=tuple(name for key, name in _LIMITS.items() if info.get(key) is False),
        cpusets=info.get("CPUSet") is not False,
        data_root=str(info.get("DockerRootDir") or ""),
    )


def engine_report(info: Mapping[str, Any], api_version: str) -> EngineReport:
    """What an operator reads."""
    return EngineReport(
        version=info.get("ServerVersion", ""),
        api_version=api_version,
        storage_driver=info.get("Driver", ""),
        cgroup_version=str(info.get("CgroupVersion", "")),
        architecture=info.get("Architecture", ""),
        default_runtime=info.get("DefaultRuntime", ""),
        clock=datetime.fromisoformat(info["SystemTime"]).timestamp(),
        warnings=tuple(info.get("Warnings") or ()),
    )


def _security(info: Mapping[str, Any]) -> set[str]:
    """Names of the engine's security options, which it lists as `name=seccomp,profile=default`."""
    options = (str(option).partition(",")[0] for option in info.get("SecurityOptions") or ())
    return {option.removeprefix("name=") for option in options}


def _remapped_root(info: Mapping[str, Any]) -> tuple[int, int] | None:
    found = _REMAPPED.search(str(info.get("DockerRootDir", "")))
    return (int(found[1]), int(found[2])) if found else None
