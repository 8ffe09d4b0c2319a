"""The container-runtime section of the CIS Docker Benchmark, over a live container of a participant.

The numbers are those of docker-bench-security 1.6 (section 5, which follows CIS Docker Benchmark 1.6). Each check is
made over what the engine says of the container, or by looking into it. What does not apply to a container of this
worker, and why, is listed beside them, so that no number is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.engine import Mount
from sandbox.logs import LogPair
from sandbox.profile import SecurityProfile
from sandbox.runner import Sandbox
from sandbox.testing import Program
from tests.support.waiting import wait_until
from worker.demo.engine import connect

pytestmark = pytest.mark.integration

MIB = 1 << 20
SENSITIVE = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr")
STRICT = SecurityProfile(memory=128 * MIB, cpus=0.5, pids=64, shm_size=16 * MIB, read_only_root=True)

NOT_OURS = {
    "5.1": "a swarm's: this worker joins none",
    "5.2": "AppArmor: the engine's default profile is kept, but the kernels of this project's CI have none",
    "5.3": "SELinux: a matter of the host, where it has it; the worker labels nothing away",
    "5.7": "an image may hold what it likes, also sshd: without network and capabilities nobody reaches it",
    "5.8": "no port is open where there is no network (5.9, 5.10)",
    "5.24": "docker exec is never called with --privileged, or at all: there is no such call in sandbox/",
    "5.25": "nor with --user=root",
    "5.28": "the image is pulled by policy (WORKER_PULL_POLICY); the check itself only informs",
    "5.30": "the engine's default bridge is not used by participants (5.10); the check looks at other containers",
}


@dataclass(frozen=True)
class Live:
    """A running container, as the engine reports it and as its processes are listed."""

    state: dict[str, Any]
    processes: list[list[str]]

    @property
    def host(self) -> dict[str, Any]:
        return dict(self.state["HostConfig"])


@pytest.fixture
def live(real: Any, parts: Any, tmp_path: Path, logs: LogPair) -> Iterator[Live]:
    """A participant's container under the strictest settings, in the middle of its run."""
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    spec = real.spec(
        Program(),
        profile=STRICT,
        command=("sleep", "1000"),
        user="participant",
        mounts=(Mount(given, "/mnt/in", read_only=True), Mount(out, "/mnt/out", read_only=False)),
    )
    with closing(connect(parts.docker_host)) as client, Sandbox(real.engine).container(spec) as container, logs:
        assert container.id is not None
        real.engine.start(container.id)
        yield _looked_at(client.api, container.id)


def _looked_at(api: docker.APIClient, container: str) -> Live:
    """As soon as its init process has started the program."""
    wait_until(lambda: len(api.top(container)["Processes"]) > 1)
    return Live(api.inspect_container(container), api.top(container)["Processes"])


def _sources(live: Live) -> set[str]:
    return {mount["Source"] for mount in live.state["Mounts"]}


CHECKS: dict[str, Callable[[Live], bool]] = {
    "5.4 capabilities are restricted": lambda live: live.host["CapDrop"] == ["ALL"] and not live.host["CapAdd"],
    "5.5 it is not privileged": lambda live: live.host["Privileged"] is False,
    "5.6 no sensitive folder of the host is mounted": lambda live: not _sources(live) & set(SENSITIVE),
    "5.9 no port is open that is not needed": lambda live: not live.state["NetworkSettings"]["Ports"],
    "5.10 the network is not the host's": lambda live: live.host["NetworkMode"] == "none",
    "5.11 memory is limited": lambda live: live.host["Memory"] == 128 * MIB == live.host["MemorySwap"],
    "5.12 CPU shares are set": lambda live: 0 < live.host["CpuShares"] < 1024 and live.host["NanoCpus"] == 5 * 10**8,
    "5.13 the root file system is read-only": lambda live: live.host["ReadonlyRootfs"] is True,
    "5.14 no port is bound to an interface": lambda live: not live.host["PortBindings"],
    "5.15 it is not restarted for ever": lambda live: live.host["RestartPolicy"]["Name"] == "no",
    "5.16 the pid namespace is its own": lambda live: live.host["PidMode"] == "",
    "5.17 the IPC namespace is its own": lambda live: live.host["IpcMode"] == "private",
    "5.18 no device of the host is given": lambda live: not live.host["Devices"] and not live.host["DeviceRequests"],
    "5.19 ulimits are set": lambda live: live.host["Ulimits"] == [{"Name": "core", "Soft": 0, "Hard": 0}],
    "5.20 mounts do not propagate": lambda live: {m["Propagation"] for m in live.state["Mounts"]} == {"rprivate"},
    "5.21 the UTS namespace is its own": lambda live: live.host["UTSMode"] == "",
    "5.22 seccomp is on": lambda live: not [o for o in live.host["SecurityOpt"] if "seccomp" in o],
    "5.23 no command was run beside the program": lambda live: not live.state["ExecIDs"],
    "5.26 privileges cannot be had anew": lambda live: "no-new-privileges:true" in live.host["SecurityOpt"],
    "5.27 no health check of the image runs": lambda live: live.state["Config"]["Healthcheck"]["Test"] == ["NONE"],
    "5.29 processes are limited": lambda live: live.host["PidsLimit"] == 64,
    "5.31 the user namespace is not the host's by wish": lambda live: live.host["UsernsMode"] == "",
    "5.32 the engine's socket is not mounted": lambda live: not [s for s in _sources(live) if s.endswith(".sock")],
}


def test_every_number_of_the_section_is_checked_or_accounted_for() -> None:
    checked = [name.partition(" ")[0] for name in CHECKS]
    assert sorted([*checked, *NOT_OURS], key=_number) == [f"5.{number}" for number in range(1, 33)]


def _number(name: str) -> int:
    return int(name.partition(".")[2])


def test_a_live_container_of_a_participant_passes_the_section(live: Live) -> None:
    assert [name for name, passes in CHECKS.items() if not passes(live)] == []
    assert len(live.processes) == 2  # the init process and the program


def test_the_checks_can_fail(real: Any, parts: Any) -> None:
    """The same over a container that is made as `docker run` makes it, with a few doors open."""
    with closing(connect(parts.docker_host)) as client:
        loose = client.containers.create(
            real.image(Program(), 0),
            ["sleep", "1000"],
            cap_add=["CHOWN"],
            network_mode="host",
            pid_mode="host",
            ipc_mode="host",
            uts_mode="host",
            security_opt=["seccomp=unconfined"],
            restart_policy={"Name": "always"},
            volumes={"/etc": {"bind": "/host", "propagation": "rshared"}, "/run/x.sock": {"bind": "/x"}},
            labels=dict(real.labels),
        )
        state = client.api.inspect_container(str(loose.id))
    state["Config"].setdefault("Healthcheck", {"Test": ["CMD", "true"]})
    failed = {name.partition(" ")[0] for name, passes in CHECKS.items() if not passes(Live(state, []))}
    kept = {"5.5", "5.9", "5.14", "5.18", "5.23", "5.31"}  # doors that stayed shut
    assert failed == {name.partition(" ")[0] for name in CHECKS} - kept
