"""Docker images for the demo and the tests, with no registry in reach: a base made of Debian's packages.

The base (Python 3.11 with its whole standard library, busybox's tools, a user `participant`, 41 MB) is made
once, kept in the cache, and imported into any engine in about a second; building upon it needs no network.
"""

import fcntl
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import docker
from docker.errors import ImageNotFound

from worker.demo import packages
from worker.demo.debian_rootfs import write_rootfs
from worker.demo.places import cache_folder, say
from worker.demo.processes import PartsError

BASE = "codalab-worker/base:1"
_PUSHES = 3
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHANGES = ['CMD ["python3"]', f"ENV PATH={PATH}", "ENV LANG=C.UTF-8"]

# For machines that are not Debian 12; the engine must be able to reach a registry that has it.
PULLED_BASE = "FROM python:3.11-slim\nRUN useradd --uid 1000 --home-dir /tmp participant\n"


def ensure_base(client: docker.DockerClient) -> str:
    """Have the base image in an engine; give its name."""
    if not _has_base(client):
        with (cache_folder("images") / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several processes would write one draft, and make several images
            if not _has_base(client):
                _make_base(client)
    return BASE


def build(client: docker.DockerClient, tag: str, dockerfile: str, files: Mapping[str, bytes]) -> None:
    """Build an image without network: FROM the base and whatever the files hold (legacy builder's syntax)."""
    _build(client, tag, dockerfile, files, network="none")


def push(client: docker.DockerClient, tag: str) -> str:
    """Push an image to the registry that its name begins with; give its digest."""
    repository, _, label = tag.rpartition(":")
    lines = client.api.push(repository, tag=label, stream=True, decode=True)
    pushed = [line["aux"]["Digest"] for line in _checked(lines, f"push of {tag}") if "Digest" in line.get("aux", {})]
    return str(pushed[-1])


def push_base(client: docker.DockerClient, registry: str) -> str:
    """Put the base into a registry; give the name by which it is pulled from there.

    A worker that makes room on its disk may take that name away again in between.
    """
    name = f"{registry}/{BASE}"
    for left in reversed(range(_PUSHES)):
        client.images.get(ensure_base(client)).tag(name)
        try:
            push(client, name)
        except PartsError:
            if not left:
                raise
        else:
            break
    return name


def copy(source: docker.DockerClient, target: docker.DockerClient, tag: str) -> None:
    """Carry an image from one engine to another."""
    target.images.load(b"".join(source.images.get(tag).save(named=tag)))


def _has_base(client: docker.DockerClient) -> bool:
    try:
        client.images.get(BASE)
    except ImageNotFound:
        return False
    return True


def _make_base(client: docker.DockerClient) -> None:
    if not packages.is_bookworm():
        say("images", f"building {BASE} upon python:3.11-slim, which is pulled")
        _build(client, BASE, PULLED_BASE, {}, network=None)
        return
    archive = _base_archive()
    say("images", f"importing {BASE}")
    repository, _, label = BASE.rpartition(":")
    reply = client.api.import_image_from_file(str(archive), repository, label, changes=CHANGES)
    if '"error"' in reply:
        raise PartsError(f"import of {BASE}: {reply.strip()}")


def _base_archive() -> Path:
    archive = cache_folder("images") / "base-1.tar.gz"
    if not archive.exists():
        say("images", f"making {BASE} of Debian's packages")
        draft = archive.with_suffix(".draft")
        with tarfile.open(draft, "w:gz", compresslevel=1) as root:
            write_rootfs(root)
        draft.replace(archive)
    return archive


def _build(
    client: docker.DockerClient, tag: str, dockerfile: str, files: Mapping[str, bytes], network: str | None
) -> None:
    context = _context({**files, "Dockerfile": dockerfile.encode()})
    with closing(context):
        lines = client.api.build(
            fileobj=context,
            custom_context=True,
            tag=tag,
            network_mode=network,
            rm=True,
            forcerm=True,
            decode=True,
        )
        for _ in _checked(cast("Iterator[dict[str, Any]]", lines), f"build of {tag}"):
            pass


def _checked(lines: Iterator[dict[str, Any]], what: str) -> Iterator[dict[str, Any]]:
    """Pass an engine's progress on; an error inside the stream, which the SDK would swallow, is raised."""
    said = ""
    for line in lines:
        said += line.get("stream", "")
        if "error" in line:
            raise PartsError(f"{what}: {line['error']}\n{said[-2000:]}")
        yield line


def _context(files: Mapping[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    buffer.seek(0)
    return buffer
