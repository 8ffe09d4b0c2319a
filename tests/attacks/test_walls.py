"""Attempts to break out: at the kernel, the engine, the network, the host and other runs.

What each tries stands in `inside/probe.py`. Whoever tries it is root in a container of an image of their own, and
is told what to look for. All of them get through where the walls are missing, so none is held by an accident.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import uuid4

import docker
import pytest

from tests.attacks.arena import Arena, Attack
from tests.attacks.outside import Doors, Outside, outside_of, without_walls
from tests.support.competition import Submission
from tests.support.waiting import wait_until
from worker.demo import images
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance

# A user `participant` who is root, and a program that makes root of whoever starts it.
HOSTILE_IMAGE = """FROM {}
RUN cp $(readlink -f $(command -v python3)) /root-python && chmod 4755 /root-python
"""
ROOT = "RUN sed -i 's/^participant:x:1000:1000/participant:x:0:0/' /etc/passwd\n"
KERNEL = {
    "mount": "mounts a file system of its own",
    "remount_input": "makes the input writable",
    "unshare": "takes name spaces in which it is root",
    "mknod_disk": "makes a device of the host's disk",
    "release_agent": "has the host run a program when a cgroup empties",
    "open_by_handle": "opens files of the host by their inode numbers",
    "setuid_program": "becomes root by a setuid program of its image",
    "keyring": "reads the kernel's keys",
    "bpf": "loads a program into the kernel",
    "trace_all": "watches everything on the machine by performance counters",
    "kernel_log": "reads the kernel's log",
    "kernel_memory": "reads the kernel's memory, timers and keys",
    "proc_sys": "turns the kernel's switches",
    "core_pattern": "has the host run a program when something crashes",
    "sys_write": "turns switches in /sys",
    "host_name": "renames the machine",
}
NETWORK = {
    "bridge": "connects to the host by the engine's bridge",
    "loopback": "connects to the host's own services",
    "other_container": "connects to another container",
    "cloud_metadata": "asks the cloud for the machine's credentials",
    "dns": "carries data out in questions to a name server",
    "raw_packets": "listens to the network",
    "abstract_socket": "connects to a socket of the host that is no file",
    "engine_socket": "talks to the container engine",
}
RUN = {
    "write_input": "writes into the operator's input folder",
    "true_host_name": "finds out where it runs",
    "see_processes": "sees the host's processes",
    "signal_processes": "signals a process of another's",
    "trace_processes": "reads the memory of another's process",
    "other_runs": "reads the folders of other runs",
    "canaries": "looks for reference data, secret files and environments wherever it can",
}
PROBES = {**KERNEL, **NETWORK, **RUN}


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    with Doors().open() as doors:
        yield doors


@pytest.fixture(scope="module")
def outside(arena: Arena, client: docker.DockerClient, parts: Parts, doors: Doors) -> Iterator[Outside]:
    with outside_of(client, parts.docker_host, arena.here.worker.temp_dir / "runs", doors) as outside:
        outside.write(arena.host / "input" / "probe.json")
        yield outside


@pytest.fixture(scope="module")
def hostile(client: docker.DockerClient, parts: Parts) -> Iterator[Mapping[str, str]]:
    """By the name of their user: an image in which `participant` is root, and one in which nobody is."""
    prefix = f"{parts.registry}/hostile-{uuid4().hex[:8]}"
    recipe = HOSTILE_IMAGE.format(images.ensure_base(client))
    tags = {"root": f"{prefix}/root:1", "nobody": f"{prefix}/nobody:1"}
    for user, tag in tags.items():
        images.build(client, tag, recipe + (ROOT if user == "root" else ""), {})
        images.push(client, tag)
    yield tags
    for tag in tags.values():
        client.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def attacks(hostile: Mapping[str, str]) -> Mapping[str, Attack]:
    """Only the setuid program is started by somebody who is not root yet."""
    return {
        probe: Attack(
            what,
            f"echo 42 > /mnt/out/answer; python3 /mnt/in/probe.py {probe}",
            image=hostile["nobody" if probe == "setuid_program" else "root"],
            prints=f"{probe} held\n",
        )
        for probe, what in PROBES.items()
    }


@pytest.fixture(scope="module")
def runs(arena: Arena, attacks: Mapping[str, Attack], outside: Outside) -> Mapping[str, Submission]:
    assert outside.process
    return {probe: arena.predicting(attack) for probe, attack in attacks.items()}


@pytest.mark.parametrize("probe", PROBES, ids=[f"{probe}: {what}" for probe, what in PROBES.items()])
def test_the_wall_holds(
    arena: Arena, attacks: Mapping[str, Attack], runs: Mapping[str, Submission], probe: str
) -> None:
    arena.judge(attacks[probe], runs[probe])


def test_nobody_came_through_a_door(arena: Arena, runs: Mapping[str, Submission], doors: Doors) -> None:
    for submission in runs.values():
        arena.here.told(submission)
    assert doors.visits == 0


def test_without_walls_every_one_of_them_gets_through(
    arena: Arena, client: docker.DockerClient, hostile: Mapping[str, str], outside: Outside, doors: Doors
) -> None:
    doors_before = doors.visits
    (arena.here.worker.temp_dir / "runs" / "another").mkdir(exist_ok=True)
    found = without_walls(client, hostile["nobody"], arena.host, outside, tuple(PROBES))
    (arena.here.worker.temp_dir / "runs" / "another").rmdir()
    assert found == dict.fromkeys(PROBES, "breached")
    # Whoever comes is counted a moment later.
    wait_until(lambda: doors.visits >= doors_before + 3, lambda: doors.visits)


def test_the_worker_is_none_the_worse(arena: Arena, client: docker.DockerClient) -> None:
    arena.is_none_the_worse(client)
