"""A container of the engine for unit tests: a program that says, leaves and does what a test wants."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sandbox.engine import ContainerSpec, ContainerState, Stream
from sandbox.errors import StartRefused

_SIGNALS = {"SIGTERM": 143, "SIGKILL": 137}


@dataclass(frozen=True, slots=True)
class Program:
    """What a container does once started: `effect`, then `output`, then it ends with `exit_code`.

    `duration` is seconds until its end, None for never. `users` are those that its image knows besides
    numbers. `refusal` is raised by its start instead, `obstacle` is the file of its image that would hold that up,
    and `scratch` the bytes that it writes outside of its mounts. With `crowded` it has more processes than it may have.
    """

    output: tuple[tuple[Stream, bytes], ...] = ()
    exit_code: int = 0
    duration: float | None = 0.0
    ignores_term: bool = False
    oom_killed: bool = False
    crowded: bool = False
    refusal: StartRefused | None = None
    users: tuple[str, ...] = ("root",)
    obstacle: str = ""
    scratch: int = 0
    effect: Callable[[ContainerSpec], None] = lambda _: None


class FakeContainer:
    """A container of a `FakeEngine`; `spec` and `signals` are for tests to look at."""

    def __init__(self, spec: ContainerSpec, program: Program) -> None:
        self.spec = spec
        self.program = program
        self.signals: list[str] = []
        self.attachments: list[FakeAttachment] = []
        self.written: list[tuple[Stream, bytes]] = []
        self.ended = threading.Event()
        self.state = ContainerState(running=False, exit_code=0, oom_killed=False, started_at=None, finished_at=None)
        self._started = 0.0
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Does what the program does."""
        self._started = time.time()
        self.state = ContainerState(
            running=True, exit_code=0, oom_killed=False, started_at=self._started, finished_at=None
        )
        self.program.effect(self.spec)
        for stream, data in self.program.output:
            self.write(stream, data)
        if self.program.duration is None:
            return
        self._timer = threading.Timer(self.program.duration, self.end, [self.program.exit_code])
        self._timer.daemon = True
        self._timer.start()

    def write(self, stream: Stream, data: bytes) -> None:
        """Has it write that, whoever reads it."""
        with self._lock:
            self.written.append((stream, data))
            for attachment in self.attachments:
                attachment.put(stream, data)

    def attach(self) -> FakeAttachment:
        """What it writes from now on."""
        with self._lock:
            self.attachments.append(FakeAttachment())
            return self.attachments[-1]

    def follow(self) -> FakeAttachment:
        """What it has written, and what comes; ended with it."""
        attachment = self.attach()
        with self._lock:
            for stream, data in self.written:
                attachment.put(stream, data)
        if self.ended.is_set():
            attachment.close()
        return attachment

    def end(self, exit_code: int) -> None:
        """Ends it, unless it has ended."""
        with self._lock:
            if self.ended.is_set():
                return
            self.state = ContainerState(
                running=False,
                exit_code=exit_code,
                oom_killed=self.program.oom_killed,
                started_at=self._started,
                finished_at=time.time(),
            )
            self.ended.set()
        if self._timer is not None:
            self._timer.cancel()
        for attachment in self.attachments:
            attachment.close()

    def signal(self, name: str) -> None:
        """Ends it, unless it ignores this signal."""
        self.signals.append(name)
        if name == "SIGKILL" or not self.program.ignores_term:
            self.end(_SIGNALS[name])


class FakeAttachment:
    """The output of a `FakeContainer`."""

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[tuple[Stream, bytes] | None] = queue.SimpleQueue()

    def put(self, stream: Stream, data: bytes) -> None:
        """Adds a piece."""
        self._pieces.put((stream, data))

    def chunks(self) -> Iterator[tuple[Stream, bytes]]:
        """Each piece as it comes."""
        return iter(self._pieces.get, None)

    def close(self) -> None:
        """Ends `chunks`."""
        self._pieces.put(None)
