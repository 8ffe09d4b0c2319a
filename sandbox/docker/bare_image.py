"""An image of one program and the empty folders around it, made without a registry."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import tolerating, translated
from sandbox.engine import Image

# What a GPU's driver expects to find in an image.
_FOLDERS = ("etc", "usr", "usr/bin", "usr/lib")


@contextmanager
def bare_image(api: EngineClient, program: bytes | None) -> Iterator[Image]:
    """An image without any file but `program` at /program, that is gone after the block."""
    with translated("making an empty image"):
        answer = api.import_image_from_data(_archive(program))
    image = json.loads(answer)["status"]
    try:
        yield Image(image, image)
    finally:
        with translated("removing an empty image"), tolerating(HTTPStatus.NOT_FOUND):
            api.remove_image(image, force=True)


def _archive(program: bytes | None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        if program is not None:
            file = tarfile.TarInfo("program")
            file.size, file.mode = len(program), 0o755
            archive.addfile(file, io.BytesIO(program))
    return buffer.getvalue()
