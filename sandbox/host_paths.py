"""Where the folders that this process sees lie on the engine's host: the engine mounts by its host's paths.

Both are the same for a process on the host itself. One in a container sees its mounts elsewhere, and all
else that it sees, the host does not have at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import FolderUnseen


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that this process sees at `seen`; `on_host` is None where the host has it at no path (a tmpfs)."""

    seen: Path
    on_host: Path | None


@dataclass(frozen=True, slots=True)
class HostPaths:
    """The folders shared with the engine's host; of two at the same path the first counts."""

    shared: tuple[SharedFolder, ...]

    def of(self, path: Path) -> Path:
        """The host's path of a folder or file that this process sees at `path`, by the innermost shared folder.

        Raises `FolderUnseen`.
        """
        around = [folder for folder in self.shared if path.is_relative_to(folder.seen)]
        innermost = max(around, key=lambda folder: len(folder.seen.parts), default=None)
        if innermost is None or innermost.on_host is None:
            raise FolderUnseen(
                f"This worker runs in a container, and {path} lies on none of its mounts, so the container engine "
                f"cannot give it to other containers: mount a folder of the host or a volume there "
                f"(docker run --volume HOST_FOLDER:{path})."
            )
        return innermost.on_host / path.relative_to(innermost.seen)


SAME_HOST = HostPaths((SharedFolder(Path("/"), Path("/")),))
"""A process on the host itself, or one that knows no better: every path is the same."""
