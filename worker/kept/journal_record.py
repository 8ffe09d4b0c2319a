"""The record of one run as it is kept on the disk: frozen, small, versioned, without a secret or an address."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.faults import Fault, LastingFault, OrganiserFault, ParticipantFault
from protocol.run import Role, UploadSlot
from protocol.status import RunMetadata, State
from sandbox.gpu import GpuRequest
from sandbox.outcome import Outcome
from worker.kept.records import Programs, PublishedRun

VERSION = 1
"""Of the format: a record of another is not read."""

_BLAMED: dict[str, type[Fault]] = {kind.__name__: kind for kind in (ParticipantFault, OrganiserFault, LastingFault)}


@dataclass(frozen=True, slots=True)
class Step:
    """One container of a run: the `index`th command of that role's program. `outcome` is None until it ended."""

    role: Role
    index: int
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """What makes a `StagedRun` again without anything fetched."""

    programs: Programs
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """The archives, by the names of their files in the outbox, and what was left out of them."""

    files: tuple[tuple[UploadSlot, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A `PublishedRun`: `fault` is the name of its class, empty where there was none."""

    fault: str = ""
    sentence: str = ""
    ingestion_duration: float | None = None

    @classmethod
    def of(cls, run: PublishedRun) -> Published:
        """As it is noted; the fault's detail is in the log."""
        fault = run.fault
        kind, sentence = (type(fault).__name__, fault.sentence) if fault else ("", "")
        return cls(kind, sentence, run.ingestion_duration)

    def run(self) -> PublishedRun:
        """As it was; any fault of the platform is told in the same words."""
        kind = _BLAMED.get(self.fault, LastingFault)
        return PublishedRun(kind(self.sentence) if self.fault else None, self.ingestion_duration)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal status as it was, or is to be, told. `confirmed_at` is epoch seconds."""

    state: State
    metadata: RunMetadata
    traceback: str
    confirmed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """How far one run got. `task_id` tells a foreign run of the same message id apart; None: not yet there.

    `boot` is the host's life in which that was: folders that were mounted, and pages not yet on the disk, end with it.
    """

    message_id: str
    task_id: int | str
    version: int = VERSION
    boot: str = ""
    folder: str = ""
    running_told: bool = False
    staged: Staged | None = None
    gpus: GpuRequest | None = None
    cpuset: str = ""
    steps: tuple[Step, ...] = ()
    cleaned: tuple[str, ...] | None = None
    packed: Packed | None = None
    published: Published | None = None
    terminal: Terminal | None = None

    @property
    def confirmed(self) -> bool:
        """Whether the broker has confirmed the terminal status."""
        return self.terminal is not None and self.terminal.confirmed_at is not None

    @property
    def to_be_told(self) -> bool:
        """Whether the run has come to its end, which the site may not know yet."""
        return self.terminal is not None and not self.confirmed

    def step(self, role: Role, index: int) -> Step | None:
        """That container, if it was ever begun."""
        return next((step for step in self.steps if (step.role, step.index) == (role, index)), None)
