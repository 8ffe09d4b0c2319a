"""An engine without containers, for tests: it keeps the contract of `ContainerEngine`, and runs scripts.

    engine = FakeEngine({"team/solver:1": Program(output=((Stream.STDOUT, b"42"),), exit_code=0)})
    engine.registry["team/late:1"] = RegistryUnreachable("team/late:1", "timeout")
    engine.unreachable = True       # and nothing answers any more

`tests/contract` holds it and the real engine to the same tests.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sandbox.cancellation import Cancellation
from sandbox.engine import ContainerSpec, ContainerState, Image, PullProgress, ScratchMeter
from sandbox.engine_facts import EngineReport, HostFacts
from sandbox.errors import (
    EngineRefused,
    EngineUnreachable,
    GpuUnavailable,
    ImageError,
    ImageNotFound,
    NoSuchUser,
    StartRefused,
)
from sandbox.fake_container import FakeAttachment, FakeContainer, Program
from sandbox.host_paths import SAME_HOST, HostPaths

__all__ = ["FakeEngine", "Program"]

_SIGNALS = {"SIGTERM": 143, "SIGKILL": 137}


@dataclass
class FakeEngine:
    """A `ContainerEngine` in memory. `programs` are the images that it holds, by reference.

    `registry` is what a pull finds: another program, or the exception that it raises. `gpus` says
    whether it has any; while `unreachable` is set every call raises `EngineUnreachable`. `host_paths` are those of
    a worker in a container; what they lead to must exist, as on an engine's host.
    """

    programs: dict[str, Program] = field(default_factory=dict)
    registry: dict[str, Program | ImageError] = field(default_factory=dict)
    gpus: bool = False
    unreachable: bool = False
    host_paths: HostPaths = SAME_HOST
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    removed: list[FakeContainer] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _up_since: float = 0.0

    def host_facts(self) -> HostFacts:
        """A small Linux host."""
        self._reach()
        return HostFacts("fake", "27.0", 4, 8 << 30, "linux", swap_limit=True, runtimes=("runc",), cdi=False)

    def report(self) -> EngineReport:
        """A small Linux host's."""
        self._reach()
        return EngineReport("27.0", "1.46", "overlay2", "2", "x86_64", "runc", clock=time.time())

    def ping(self) -> None:
        """Raises where it is `unreachable`."""
        self._reach()

    def find_image(self, reference: str) -> Image | None:
        """The image among `programs`."""
        self._reach()
        name = self._name(reference)
        return Image(_image_id(name), reference) if name else None

    def pull(
        self,
        reference: str,
        *,
        deadline: float,
        progress: PullProgress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Image:
        """Takes over from `registry`, at once."""
        del deadline
        (cancellation or Cancellation()).check()
        self._reach()
        found = self.registry.get(reference, ImageNotFound(reference, "manifest unknown"))
        if isinstance(found, ImageError):
            raise found
        if progress is not None:
            progress(1, 1)
        fetched = reference not in self.programs
        self.programs[reference] = found
        return Image(_image_id(reference), reference, fetched)

    def remove_image(self, image: str, names: Collection[str]) -> bool:
        """Forgets the program."""
        self._reach()
        name = self._name(image)
        if name and (name not in names or any(held.spec.image in {name, image} for held in self.containers.values())):
            return False
        self.programs.pop(name or "", None)
        return True

    @contextmanager
    def empty_image(self, *, program: bytes | None = None) -> Iterator[Image]:
        """An image in which no command is found but /program, which ends at once."""
        self._reach()
        self.programs["empty"] = Program(refusal=None if program else StartRefused("executable file not found"))
        try:
            yield Image(_image_id("empty"), "empty")
        finally:
            del self.programs["empty"]

    def create(self, spec: ContainerSpec) -> str:
        """Makes a container of the image's program."""
        self._reach()
        name = self._name(spec.image)
        if name is None:
            raise ImageNotFound(spec.image, "no such image")
        if any(held.spec.name == spec.name for held in self.containers.values()):
            raise EngineRefused(f"The name {spec.name} is in use.")
        for mount in spec.mounts:
            if not (source := self.host_paths.of(mount.source)).exists():
                raise EngineRefused(f"bind source path does not exist: {source}")
        container = f"{next(self._numbers):064x}"
        self.containers[container] = FakeContainer(spec, self.programs[name])
        return container

    def obstacle(self, container: str) -> str:
        """What its program says."""
        return self._held(container).program.obstacle

    def scratch_meter(self, container: str) -> ScratchMeter:
        """What its program says, from its start on."""
        held = self._held(container)
        return ScratchMeter(lambda: held.program.scratch if held.state.started_at else 0)

    def attach(self, container: str) -> FakeAttachment:
        """Its output."""
        return self._held(container).attach()

    def follow(self, container: str) -> FakeAttachment:
        """Its output from the first byte."""
        return self._held(container).follow()

    def was_killed(self, container: str) -> bool:
        """Nobody but the worker sends signals to these."""
        del container
        return False

    def was_crowded(self, container: str) -> bool:
        """What its program says, from its start on."""
        held = self.containers.get(container)
        return held is not None and held.program.crowded and held.state.started_at is not None

    def was_up_at(self, moment: float) -> bool:
        """True since the latest `restart`."""
        self._reach()
        return moment >= self._up_since

    def restart(self) -> None:
        """Ends every container that runs, as an engine does that is restarted."""
        for held in self.containers.values():
            if held.state.running:
                held.end(_SIGNALS["SIGTERM"])
        self._up_since = time.time()

    def start(self, container: str) -> None:
        """Starts its program."""
        held = self._held(container)
        if held.spec.profile.gpus is not None and not self.gpus:
            raise GpuUnavailable("could not select device driver")
        user = held.spec.user
        if user and not user[0].isdigit() and user not in held.program.users:
            raise NoSuchUser(f"unable to find user {user}", exit_code=126)
        if held.program.refusal is not None:
            raise held.program.refusal
        held.start()

    def wait(self, container: str, *, timeout: float | None) -> None:
        """Returns when it has ended."""
        if not self._held(container).ended.wait(timeout):
            raise EngineUnreachable("The container did not end in time.")
        self._reach()

    def inspect(self, container: str) -> ContainerState:
        """How it is now."""
        return self._held(container).state

    def memory(self, container: str) -> int:
        """Some, while it runs."""
        self._reach()
        held = self.containers.get(container)
        return 1 << 20 if held and held.state.running else 0

    def signal(self, container: str, name: str) -> None:
        """Sends it a signal."""
        self._reach()
        if (held := self.containers.get(container)) and held.state.running:
            held.signal(name)

    def remove(self, container: str) -> None:
        """Ends and forgets it; tests find it among `removed`."""
        self._reach()
        if held := self.containers.pop(container, None):
            held.end(_SIGNALS["SIGKILL"])
            self.removed.append(held)

    def find_containers(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Those that carry all of these labels."""
        self._reach()
        return tuple(name for name, held in self.containers.items() if labels.items() <= held.spec.labels.items())

    def _reach(self) -> None:
        if self.unreachable:
            raise EngineUnreachable("The container engine does not answer.")

    def _held(self, container: str) -> FakeContainer:
        self._reach()
        if container not in self.containers:
            raise EngineRefused(f"No such container: {container}")
        return self.containers[container]

    def _name(self, reference: str) -> str | None:
        """The name in `programs` of an image given by that name or by its id."""
        return next((name for name in self.programs if reference in {name, _image_id(name)}), None)


def _image_id(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
