"""What the sandbox asks of a container engine, and the values that it hands over.

`sandbox.docker.engine.DockerEngine` is the real one, `sandbox.testing.FakeEngine` the one for
unit tests; both pass the same contract tests. Every call may raise `EngineUnreachable`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from sandbox.cancellation import Cancellation
from sandbox.engine_facts import EngineReport, HostFacts
from sandbox.host_paths import HostPaths
from sandbox.profile import SecurityProfile
from sandbox.usage import Usage


class Stream(StrEnum):
    """Which of a program's two outputs some bytes came from."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder seen inside a container; `source` is where this process sees it."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """`most` of what some folders may hold together; with `growth`, of what they hold beyond what they held before.

    A folder that is a mount of its own stands behind a wall (`sandbox.wall`).
    """

    folders: tuple[Path, ...]
    most: Usage
    growth: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container to be made.

    `command` None means the image's own CMD, `entrypoint` None its own ENTRYPOINT, an empty
    `entrypoint` none at all; `user` None the image's own user; `fallback_user` takes the place of a
    `user` that the image lacks. `bounds` are what the sandbox holds it to in the folders that it writes to.
    """

    name: str
    image: str
    profile: SecurityProfile
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    user: str | None = None
    fallback_user: str | None = None
    working_dir: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the engine holds: its `id` (what to run, immune to a tag that moves).

    `fetched` is True where this pull brought layers: then the engine surely did not hold the image before.
    """

    id: str
    reference: str
    fetched: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What the engine says of a container. Times are epoch seconds, None where there is none yet."""

    running: bool
    exit_code: int
    oom_killed: bool
    started_at: float | None
    finished_at: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ScratchMeter:
    """Tells how many bytes a container has written outside of its mounts; `read` may raise `SandboxError`.

    `place` is a folder on the disk that they land on, None where the worker cannot see it.
    """

    read: Callable[[], int]
    place: Path | None = None


PullProgress = Callable[[int, int], None]
"""Called with the bytes had so far and the bytes in all, as far as the registry has told."""

PullListener = Callable[[float, bool], None]
"""Called when a pull has ended, with the seconds that it took and whether it brought the image."""


class Attachment(Protocol):
    """The output of a container, from before its first byte."""

    def chunks(self) -> Iterator[tuple[Stream, bytes]]:
        """Each piece as it comes; ends when the container ends or `close` is called."""
        ...

    def close(self) -> None:
        """Lets go at once, from any thread; `chunks` then ends."""
        ...


class ContainerEngine(Protocol):
    """A container engine; its calls may be made from any thread."""

    @property
    def host_paths(self) -> HostPaths:
        """Where what this process sees lies on the engine's host; `create` puts mounts' sources into its terms."""
        ...

    def host_facts(self) -> HostFacts:
        """What the engine says of itself and its host."""
        ...

    def report(self) -> EngineReport:
        """What it says of itself, for an operator to read."""
        ...

    def ping(self) -> None:
        """Raises `EngineUnreachable` where it does not answer within a few seconds."""
        ...

    def find_image(self, reference: str) -> Image | None:
        """The image under that reference or id, if the engine holds it; no registry is asked."""
        ...

    def pull(
        self,
        reference: str,
        *,
        deadline: float,
        progress: PullProgress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Image:
        """Fetches the image anew, within `deadline` seconds.

        Raises `ImageNotFound`, `ImageInvalid`, `RegistryUnreachable` or `Cancelled`; never hands out an older image.
        """
        ...

    def remove_image(self, image: str, names: Collection[str]) -> bool:
        """Removes the image with that id, known by no other than these names, and says whether it is gone.

        False, and nothing is removed, where a container uses it, running or not, or it has another name.
        """
        ...

    def empty_image(self, *, program: bytes | None = None) -> AbstractContextManager[Image]:
        """An image without any file but `program` at /program, made without any registry, gone after the block."""
        ...

    def create(self, spec: ContainerSpec) -> str:
        """Makes the container, not started, and returns its id.

        Raises `EngineRefused` (also where its host lacks the source of a mount), `FolderUnseen`, `ImageNotFound`,
        or `StartRefused` where the image names no command.
        """
        ...

    def obstacle(self, container: str) -> str:
        """The file of an image (a FIFO, a device) that would hold up its start for ever; empty where there is none."""
        ...

    def scratch_meter(self, container: str) -> ScratchMeter:
        """What tells how much it has written to its writable layer and to the image's own volumes."""
        ...

    def attach(self, container: str) -> Attachment:
        """Its output; must be called before `start`, for after the end it would hang (real engines do)."""
        ...

    def follow(self, container: str) -> Attachment:
        """Its output from the first byte that the engine still has (`SecurityProfile.log_size`), running or not."""
        ...

    def was_killed(self, container: str) -> bool:
        """Whether it was sent a signal from outside: by this worker, somebody else, or the engine itself at its end."""
        ...

    def was_crowded(self, container: str) -> bool:
        """Whether the kernel refused it a process, having as many as it may; False also where nobody can tell.

        It costs microseconds, and is to be asked now and then while it runs, too: it is not remembered for ever.
        """
        ...

    def was_up_at(self, moment: float) -> bool | None:
        """Whether this engine, and not one before its restart, saw that moment (epoch seconds); None: nobody knows."""
        ...

    def start(self, container: str) -> None:
        """Starts it.

        Raises `StartRefused` or `NoSuchUser` (the image's fault), `GpuUnavailable` or `EngineRefused`.
        A command that is missing may also show only at the end, as exit code 126 or 127.
        """
        ...

    def wait(self, container: str, *, timeout: float | None) -> None:
        """Returns when it has ended; raises `EngineUnreachable` when `timeout` seconds pass first."""
        ...

    def inspect(self, container: str) -> ContainerState:
        """How it is now."""
        ...

    def memory(self, container: str) -> int:
        """Bytes that its processes take at this moment, page cache that can be had back left out; 0 unless it runs."""
        ...

    def signal(self, container: str, name: str) -> None:
        """Sends `SIGTERM` or `SIGKILL`; no error where it has ended already."""
        ...

    def remove(self, container: str) -> None:
        """Ends it by force if need be, and removes it with its volumes; no error where it is gone."""
        ...

    def find_containers(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Ids of all containers, running or not, that carry all of these labels."""
        ...
