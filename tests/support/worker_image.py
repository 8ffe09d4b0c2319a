"""The worker's images, built by the commands of docs/operating.md without network: base and wheels lie in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import docker
import pip

from tests.support import operating
from worker.demo import images, packages
from worker.demo.places import cache_folder, say

BASE = "codalab-worker/pip-base:1"
# Where Debian's Python looks, too; the base that is pulled elsewhere has a pip of its own.
_PIP_BASE = f"FROM {images.BASE}\nCOPY pip /usr/local/lib/python3.11/dist-packages/pip\n"
_REQUIREMENTS = tuple(operating.ROOT / "constraints" / name for name in ("runtime.txt", "build.txt", "gpu.txt"))
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests")
_OFFLINE = "--network none --build-arg PIP_NO_INDEX=1"


def wheels() -> Path:
    """A folder with all that the worker's install needs, downloaded once."""
    pins = hashlib.sha256(b"".join(path.read_bytes() for path in _REQUIREMENTS)).hexdigest()[:12]
    target = cache_folder("wheels", pins)
    if not (target / "complete").exists():
        say("wheels", "downloading the worker's packages")
        files = [word for path in _REQUIREMENTS for word in ("--requirement", str(path))]
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
        target_python = ["--python-version", "3.11", "--dest", str(target)]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, *target_python, *files], check=True, timeout=300
        )
        (target / "complete").touch()
    return target


def build(client: docker.DockerClient, host: str, block: str, tag: str, folder: Path) -> str:
    """Builds as that block says, from a copy of the working tree that has an operator's secrets in it, too."""
    images.ensure_base(client)
    images.build(client, BASE, _PIP_BASE, _pip())
    context = folder / "context"
    if not context.exists():
        _copy_tree(context)
    (documented,) = (word for word in operating.commands()[block].split() if word.startswith("codalab-worker:"))
    before = {str(image.id) for image in client.images.list(tag)}
    packages.need("docker", "docker.io")
    operating.run(
        block,
        {"docker build": f"docker build {_OFFLINE} --build-arg BASE_IMAGE={BASE}", documented: tag},
        context,
        {**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"},
        timeout=300,
    )
    for replaced in before - {str(client.images.get(tag).id)}:
        client.images.remove(replaced, force=True)
    return tag


def _copy_tree(context: Path) -> None:
    shutil.copytree(operating.ROOT, context, ignore=_NOT_COPIED)
    shutil.copy(operating.ROOT / ".dockerignore", context)
    shutil.copytree(wheels(), context / "wheels")
    for name in (".env", "config/.env", "worker/worker.env"):
        (context / name).write_text("BROKER_URL=pyamqp://user:hunter2@host//\n")


def _pip() -> dict[str, bytes]:
    root = Path(pip.__file__).parent
    sources = (path for path in root.rglob("*") if path.suffix != ".pyc" and path.is_file())
    return {f"pip/{path.relative_to(root)}": path.read_bytes() for path in sources}
