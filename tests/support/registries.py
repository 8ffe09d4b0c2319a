"""Registries of images that whole runs use; nothing of them is left on the engine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import docker
import pytest

from tests.contract.faulty_registry import Registry, faulty_registry
from worker.demo import images

ANSWERING = ("/bin/busybox", "sh", "-c", "printf 42 > /mnt/out/answer.txt; echo predicted")

MakeRegistry = Callable[[], Registry]


@pytest.fixture(scope="module")
def new_registry(client: docker.DockerClient) -> Iterator[MakeRegistry]:
    """Makes registries of one image each, a docker submission that answers; none of it is left behind."""
    files = {"bin/busybox": _busybox(client)}
    made: list[Registry] = []
    with ExitStack() as stack:

        def make() -> Registry:
            made.append(one := stack.enter_context(faulty_registry(files, ANSWERING)))
            return one

        yield make
    for one in made:
        for image in client.images.list(name=one.reference.rpartition(":")[0]):
            client.images.remove(str(image.id), force=True)


def _busybox(client: docker.DockerClient) -> bytes:
    """The one program of the base image that needs no other file."""
    container = client.containers.create(images.ensure_base(client))
    try:
        chunks, _ = container.get_archive("/usr/bin/busybox")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile("busybox")
            assert member
            return member.read()
    finally:
        container.remove()
