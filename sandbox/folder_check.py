"""A preflight that proves that the engine mounts the very folder that this process writes to."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.engine import ContainerEngine, ContainerSpec, Image, Mount
from sandbox.errors import EngineRefused, FolderUnseen
from sandbox.profile import SecurityProfile

_MIB = 1 << 20
_PROFILE = SecurityProfile(memory=64 * _MIB, cpus=1, pids=16, shm_size=_MIB)


def check_folder(engine: ContainerEngine, folder: Path, *, image: Image | None = None) -> None:
    """Makes a folder of a random name in `folder`, and a container that mounts it; nothing is started or pulled.

    An engine that does not see it refuses, for no other folder has that name. `image` is an empty one, if there is
    one already. Raises `FolderUnseen` with a
    sentence that names the mend, or `EngineUnreachable`; OSError where `folder` cannot be written to.
    """
    on_host = engine.host_paths.of(folder)
    empty = nullcontext(image) if image else engine.empty_image()
    with TemporaryDirectory(prefix=".check-", dir=folder) as token, empty as made:
        spec = ContainerSpec(
            name=f"codalab-folder-check-{uuid.uuid4().hex[:12]}",
            image=made.id,
            profile=_PROFILE,
            command=("/no-such-command",),
            mounts=(Mount(Path(token), "/mnt/check", read_only=True),),
        )
        try:
            container = engine.create(spec)
        except EngineRefused as error:
            raise FolderUnseen(_sentence(folder, on_host, error)) from error
        engine.remove(container)


def _sentence(folder: Path, on_host: Path, error: EngineRefused) -> str:
    looked = "" if on_host == folder else f", which should be {on_host} on its host"
    return (
        f"The container engine does not see what this worker writes to {folder}{looked}: "
        f"choose a folder that both see (one with a private /tmp sees no folder below it). It says: {error}"
    )
