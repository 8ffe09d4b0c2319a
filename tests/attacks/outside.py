"""The host as an attack from inside would like to reach it, and a container without walls, from which it can be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import docker

from tests.attacks.arena import MARK
from worker.demo import images

# All but SYS_RESOURCE, which not every machine can give away.
CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "KILL", "MKNOD", "NET_ADMIN", "NET_RAW"),
    *("SETGID", "SETUID", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "SYS_RAWIO", "SYSLOG"),
)
UNCONFINED = ["seccomp=unconfined", "apparmor=unconfined", "label=disable"]
ON_A_NETWORK = ("bridge", "cloud_metadata", "dns", "other_container")
"""Probes that need a container network; the others are given the host's."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What is to be found on the host; as `probe.json` it is told to the attacker, who need not guess."""

    hostname: str
    engine_sockets: tuple[str, ...]
    abstract_socket: str
    bridge: str
    port: int
    container: str
    process: int
    disk: tuple[int, int]
    runs: str

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


class Doors:
    """Listens on the host, where no participant can come; counts those who do."""

    def __init__(self) -> None:
        self.visits = 0
        self.tcp = socket.create_server(("0.0.0.0", 0))  # noqa: S104 - the bridge's address is one of all
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract_name = f"{MARK}-{os.getpid()}"
        self.abstract.bind("\0" + self.abstract_name)
        self.abstract.listen()
        self.threads = [threading.Thread(target=self._count, args=(door,)) for door in (self.tcp, self.abstract)]

    @property
    def port(self) -> int:
        return int(self.tcp.getsockname()[1])

    def _count(self, door: socket.socket) -> None:
        while True:
            try:
                visitor, _ = door.accept()
            except OSError:
                return
            visitor.close()
            self.visits += 1

    @contextmanager
    def open(self) -> Iterator[Doors]:
        for thread in self.threads:
            thread.start()
        try:
            yield self
        finally:
            for door in (self.tcp, self.abstract):
                door.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for visitors
                door.close()
            for thread in self.threads:
                thread.join()


@contextmanager
def outside_of(client: docker.DockerClient, docker_host: str, runs: Path, doors: Doors) -> Iterator[Outside]:
    """A process and a container of the host's own, while the block lasts."""
    with ExitStack() as stack:
        sleeper = subprocess.Popen(["sleep", "600"])
        stack.callback(sleeper.wait)
        stack.callback(sleeper.kill)
        command = ["sh", "-c", "while :; do nc -l -p 8000 </dev/null; done"]
        neighbour = client.containers.run(images.ensure_base(client), command, detach=True, network="bridge", init=True)
        stack.callback(neighbour.remove, force=True)
        neighbour.reload()
        network = neighbour.attrs["NetworkSettings"]["Networks"]["bridge"]
        disk = Path("/").stat().st_dev
        yield Outside(
            os.uname().nodename,
            ("/var/run/docker.sock", "/run/docker.sock", docker_host.removeprefix("unix://")),
            doors.abstract_name,
            network["Gateway"],
            doors.port,
            network["IPAddress"],
            sleeper.pid,
            (os.major(disk), os.minor(disk)),
            str(runs),
        )


def without_walls(
    client: docker.DockerClient, image: str, host: Path, outside: Outside, probes: Sequence[str]
) -> dict[str, str]:
    """How those attempts go where everything that the worker puts in their way is missing."""
    command = ["python3", "/mnt/in/probe.py"]
    local = [probe for probe in probes if probe not in ON_A_NETWORK]
    remote = [probe for probe in probes if probe in ON_A_NETWORK]
    said = _run(client, image, host, outside, [*command, *local], "host")
    said += _run(client, image, host, outside, [*command, *remote], "bridge")
    return dict(line.split() for line in said.splitlines())


def _run(
    client: docker.DockerClient, image: str, host: Path, outside: Outside, command: Sequence[str], network: str
) -> str:
    socket_path = outside.engine_sockets[-1]
    binds = [
        f"{host / 'input'}:/mnt/in",
        f"{host}:{host}",
        f"{outside.runs}:{outside.runs}",
        f"{socket_path}:{socket_path}",
    ]
    walls = client.api.create_host_config(
        binds=binds, cap_add=list(CAPABILITIES), security_opt=UNCONFINED, network_mode=network, pid_mode="host"
    )
    walls.update({"MaskedPaths": [], "ReadonlyPaths": []})
    if network == "host":
        walls["UTSMode"] = "host"
    made = client.api.create_container(image, list(command), user="0:0", host_config=walls)["Id"]
    try:
        client.api.start(made)
        client.api.wait(made)
        return client.api.logs(made, stdout=True, stderr=False).decode()
    finally:
        client.api.remove_container(made, force=True)
