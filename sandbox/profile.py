"""The walls around a container, as a frozen value, and what they mean to the engine."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.gpu import GpuRequest, device_requests

_NANO = 1_000_000_000
_SHARES_OF_ONE_CPU = 1024


@dataclass(frozen=True, slots=True)
class SecurityProfile:
    """Everything that limits one container. Sizes are bytes; `cpus` may be a fraction.

    `cpuset` is the CPUs that it may run on, in the kernel's list format, empty for any; `cpus` holds all the same.

    `log_size` is how much of its output the engine keeps beside what is attached, for a worker that comes back
    to it; twice that at most is on the disk. 0 means none.
    `capabilities` are those kept after all were dropped. `runtime` None means the engine's default.
    `scratch` is what it may write outside of its mounts, None for as much as there is.
    With `read_only_root` the image cannot be written to; `/tmp` is then a tmpfs of half the memory.
    Raises ValueError where a limit is not positive, for the engine takes zero to mean no limit.
    """

    memory: int
    cpus: float
    pids: int
    shm_size: int
    network: str = "none"
    capabilities: tuple[str, ...] = ()
    runtime: str | None = None
    read_only_root: bool = False
    gpus: GpuRequest | None = None
    cpuset: str = ""
    scratch: int | None = None
    log_size: int = 0

    def __post_init__(self) -> None:
        for name in ("memory", "cpus", "pids", "shm_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"A container's limit {name} must be positive, not {getattr(self, name)}.")
        if not self.network:
            raise ValueError("A container's network must be named; none is the name of no network.")


def host_config(profile: SecurityProfile, *, host_cpus: float) -> dict[str, object]:
    """The Engine API's HostConfig, all of it but the mounts. `host_cpus` is what the engine's host has.

    Whatever is left out keeps the engine's default: its seccomp and AppArmor profiles, masked
    paths, OOM score, own pid, UTS and cgroup namespaces.
    """
    options = {**_privileges(profile), **_resources(profile, host_cpus), **_lifetime(profile)}
    if profile.runtime is not None:
        options["Runtime"] = profile.runtime
    if profile.read_only_root:
        # Room for programs that compile what they load; executable, as the output folder is, too.
        options["Tmpfs"] = {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={profile.memory // 2}"}  # noqa: S108
    return options


def _privileges(profile: SecurityProfile) -> dict[str, object]:
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": list(profile.capabilities),
        "SecurityOpt": ["no-new-privileges:true"],
        "NetworkMode": profile.network,
        "PublishAllPorts": False,
        "IpcMode": "private",
        "PidMode": "",
        "ReadonlyRootfs": profile.read_only_root,
        "Devices": [],
        "DeviceRequests": device_requests(profile.gpus),
    }


def _resources(profile: SecurityProfile, host_cpus: float) -> dict[str, object]:
    # More CPUs than the host has would be refused, and less than a hundredth of one, too.
    cpus = max(0.01, min(profile.cpus, host_cpus))
    return {
        **({"CpusetCpus": profile.cpuset} if profile.cpuset else {}),
        "Memory": profile.memory,
        "MemorySwap": profile.memory,  # memory and swap together: equal means no swap
        "NanoCpus": round(cpus * _NANO),
        "CpuShares": max(2, round(cpus * _SHARES_OF_ONE_CPU)),
        "PidsLimit": profile.pids,
        "ShmSize": profile.shm_size,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
    }


def _lifetime(profile: SecurityProfile) -> dict[str, object]:
    return {
        "Init": True,  # reaps orphans, and dies of SIGTERM where a program as PID 1 would not
        "LogConfig": _log_config(profile.log_size),
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,  # it is inspected after its end
    }


def _log_config(log_size: int) -> dict[str, object]:
    """The driver `local` keeps bytes as they are, where `json-file` would put U+FFFD for what is no UTF-8."""
    if not log_size:
        return {"Type": "none", "Config": {}}
    return {"Type": "local", "Config": {"max-size": str(log_size), "max-file": "2", "compress": "false"}}
