"""A Docker registry on a loopback port, which engines use without TLS: Debian's `docker-registry`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

import requests

from worker.demo import packages
from worker.demo.places import LOOPBACK, fresh_folder, pick_port, run_folder
from worker.demo.processes import Child, wait_until
from worker.demo.processes import start as start_process
from worker.demo.processes import stop as stop_process
from worker.demo.service import Service

PORT = 10500
PROTECTED_PORT = 10501
USER = "worker"
PASSWORD = "open-sesame"  # noqa: S105 - of a registry on this machine that lives for one test
# The password's bcrypt hash, the only kind that the registry takes and that the standard library cannot make.
HTPASSWD = "worker:$2a$05$codalabworkerdemosaltuCVbkuvNVn55MpWSUboAmIRpltKOWJfe\n"


@dataclass(frozen=True)
class ProtectedRegistry:
    """A second door to the same images, which asks for credentials."""

    address: str
    user: str = USER
    password: str = PASSWORD


def system_packages() -> list[str]:
    """Nothing is installed: the one binary is taken out of its package."""
    return []


def start(folder: Path) -> Service:
    """Bring up an empty registry."""
    port, child = _serve(fresh_folder(folder), folder / "data", pick_port(PORT))
    return Service("registry", {"registry": f"{LOOPBACK}:{port}"}, (child,))


def answers(service: Service) -> bool:
    """Ask for the API's root."""
    return _status(service.address["registry"]) == HTTPStatus.OK


def stop(service: Service) -> None:
    """End it at once: it holds nothing that is to be kept."""
    for child in service.children:
        stop_process(child, grace=0)


@contextmanager
def protected() -> Iterator[ProtectedRegistry]:
    """Open, for a while, a second registry over the running one's data that wants a user and a password."""
    folder = fresh_folder(run_folder() / f"registry-protected-{uuid4().hex[:8]}")  # several may be open at once
    (folder / "htpasswd").write_text(HTPASSWD)
    data = run_folder() / "registry" / "data"
    port, child = _serve(folder, data, pick_port(PROTECTED_PORT), htpasswd=folder / "htpasswd")
    try:
        yield ProtectedRegistry(f"{LOOPBACK}:{port}")
    finally:
        stop_process(child, grace=0)
        fresh_folder(folder).rmdir()


def _serve(folder: Path, data: Path, port: int, htpasswd: Path | None = None) -> tuple[int, Child]:
    config = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}},
        "http": {"addr": f"{LOOPBACK}:{port}", "secret": "of one registry only"},
        **({"auth": {"htpasswd": {"realm": "codalab", "path": str(htpasswd)}}} if htpasswd else {}),
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    child = start_process(folder.name, [str(_binary()), "serve", str(folder / "config.yml")], folder)
    ready = HTTPStatus.UNAUTHORIZED if htpasswd else HTTPStatus.OK
    wait_until(lambda: _status(f"{LOOPBACK}:{port}") == ready, child, 30)
    return port, child


def _status(address: str) -> int | None:
    try:
        return requests.get(f"http://{address}/v2/", timeout=5).status_code
    except requests.RequestException:
        return None


def _binary() -> Path:
    """Find the registry's program: installed, or taken out of its package (no service, no port 5000)."""
    if installed := packages.program("docker-registry"):
        return Path(installed)
    return packages.unpacked(["docker-registry"], "registry") / "usr" / "bin" / "docker-registry"
