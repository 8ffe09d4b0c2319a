"""A Docker engine: the one that is there, else one of our own, as root, with its data in the cache.

One that was there is never stopped. Ours leaves nothing behind: no process, mount, bridge or firewall rule.
(Never `--bridge=none` here: an engine so started deletes the docker0 of the one that runs already.)
"""

import os
import subprocess
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

import docker
import psutil
import requests
from docker.errors import DockerException

from worker.demo import packages
from worker.demo.host_network import HostNetwork
from worker.demo.places import cache_folder, fresh_folder, say
from worker.demo.processes import Child, PartsError, kill, wait_until
from worker.demo.processes import start as start_process
from worker.demo.processes import stop as stop_process
from worker.demo.service import Service

USUAL_SOCKET = "unix:///var/run/docker.sock"
STOP_CONTAINERS_WITHIN = 3  # seconds that containers get when our engine ends


def system_packages() -> list[str]:
    """Name what is missing to start an engine, where none answers."""
    if _running_engine():
        return []
    wanted = {"dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2"}
    return [package for name, package in wanted.items() if packages.program(name) is None]


def start(folder: Path) -> Service:
    """Take the engine that answers, or start one."""
    if host := _running_engine():
        say("engine", f"using the Docker engine at {host}")
        return Service("engine", {"docker_host": host})
    if os.geteuid() != 0:
        raise PartsError("no Docker engine answers here, and only root can start one: start Docker, then retry")
    before = HostNetwork.now()
    try:
        host, child = start_dockerd(fresh_folder(folder), cache_folder("engine"))
    except BaseException:
        before.restore()
        raise
    undo = {"folder": str(folder), **{name: str(value) for name, value in asdict(before).items()}}
    return Service("engine", {"docker_host": host}, (child,), undo)


def answers(service: Service) -> bool:
    """Ping the engine."""
    return _pings(service.address["docker_host"])


def stop(service: Service) -> None:
    """End our own engine and put the host's network back; another's is left alone."""
    for child in service.children:
        stop_dockerd(child, Path(service.undo["folder"]), cache_folder("engine"))
        had_bridge = service.undo["had_bridge"] == "True"
        HostNetwork(had_bridge, service.undo["forward_policy"], service.undo["ip_forward"]).restore()


def connect(host: str, timeout: float = 60) -> docker.DockerClient:
    """Give a client of an engine, with the environment's TLS settings where it names the same engine."""
    env = os.environ if os.environ.get("DOCKER_HOST") == host else {"DOCKER_HOST": host}
    client = docker.DockerClient.from_env(environment=dict(env), timeout=int(timeout))
    client.api.trust_env = False  # no proxy, and no look at an environment that others change meanwhile
    return client


def start_dockerd(
    folder: Path,
    data: Path,
    options: Sequence[str] = (),
    *,
    path: str = packages.SYSTEM_PATH,
    within: Sequence[str] = (),
) -> tuple[str, Child]:
    """Start an engine, sockets and state in a short-named folder; /etc/docker/daemon.json is not heeded.

    `within` is a command that does something first and then becomes the engine, whose words follow its own.
    """
    host = f"unix://{folder}/docker.sock"
    (folder / "daemon.json").write_text("{}\n")
    argv = [*within, packages.need("dockerd", "docker.io"), "--host", host, "--data-root", str(data)]
    argv += ["--exec-root", str(folder / "exec"), "--pidfile", str(folder / "dockerd.pid")]
    argv += ["--config-file", str(folder / "daemon.json"), "--shutdown-timeout", str(STOP_CONTAINERS_WITHIN)]
    child = start_process("dockerd", [*argv, *options], folder, {**os.environ, "PATH": path})
    wait_until(lambda: _pings(host), child, 60)
    return host, child


def stop_dockerd(child: Child, folder: Path, data: Path) -> None:
    """End an engine with its containerd, the shims of containers that outlived it, and its mounts."""
    stop_process(child, grace=STOP_CONTAINERS_WITHIN + 10)
    kill(_shims(folder))
    for mount in _mounts_below(folder, data):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


def _shims(folder: Path) -> list[psutil.Process]:
    """Find what containerd began for containers: these processes leave its family on purpose."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if any(word.startswith(f"{folder}/exec/") for word in process.cmdline()):
                found += [process, *process.children(recursive=True)]
    return found


def _mounts_below(*folders: Path) -> list[str]:
    """List mount points inside the folders, innermost first."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [point for point in points if any(point.startswith(f"{folder}/") for folder in folders)]
    return sorted(inside, key=len, reverse=True)


def _running_engine() -> str | None:
    """Find an engine that somebody else runs."""
    hosts = (os.environ.get("DOCKER_HOST"), USUAL_SOCKET)
    return next((host for host in hosts if host and _pings(host)), None)


def _pings(host: str) -> bool:
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).is_socket():
        return False
    try:
        with closing(connect(host, timeout=5)) as client:
            return bool(client.ping())
    except (DockerException, requests.RequestException, OSError):
        return False
