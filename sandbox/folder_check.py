"""A preflight that proves that the engine mounts the very folder that this process writes to."""

from __future__ import annotations

import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.engine import ContainerEngine, ContainerSpec, Mount
from sandbox.errors import EngineRefused, SandboxError
from sandbox.profile import SecurityProfile

_MIB = 1 << 20
_PROFILE = SecurityProfile(memory=64 * _MIB, cpus=1, pids=16, shm_size=_MIB)


class FolderUnseen(SandboxError):
    """The engine does not see what this process writes to a folder; its own words are the message."""


def check_folder(engine: ContainerEngine, folder: Path) -> None:
    """Makes a container, never started, that mounts a folder of a random name made in `folder` for this.

    Raises `FolderUnseen`, `EngineUnreachable`, and OSError where `folder` cannot be written to.
    """
    with TemporaryDirectory(prefix=".check-", dir=folder) as token, engine.empty_image() as image:
        spec = ContainerSpec(
            name=f"codalab-folder-check-{uuid.uuid4().hex[:12]}",
            image=image.id,
            profile=_PROFILE,
            command=("/no-such-command",),
            mounts=(Mount(Path(token), "/mnt/check", read_only=True),),
        )
        try:
            container = engine.create(spec)
        except EngineRefused as error:
            raise FolderUnseen(str(error)) from error
        engine.remove(container)
