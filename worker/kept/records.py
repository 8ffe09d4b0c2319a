"""A run as it moves on: each stage wraps the record of the one before, and changes nothing in it.

RunRequest → StagedRun → ExecutedRun → ScoredRun → PublishedRun
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.faults import Fault
from protocol.run import RunRequest
from sandbox.engine import Image
from sandbox.outcome import Outcome
from worker.kept.folders import RunFolder


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is ready to run: its commands, in turn, each a container of `image`."""

    image: Image
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Programs:
    """What a run has to run. None is what it has not.

    `docker_submission` is the participant's image, `code_submission` their code in an image of the
    organiser's; a run has one of them at most.
    """

    docker_submission: Image | None = None
    code_submission: Program | None = None
    ingestion: Program | None = None
    scoring: Program | None = None

    @property
    def images(self) -> tuple[Image, ...]:
        """All that its containers are made of."""
        programs = (self.code_submission, self.ingestion, self.scoring)
        found = (self.docker_submission, *(program.image for program in programs if program))
        return tuple(image for image in found if image)


@dataclass(frozen=True, slots=True)
class StagedRun:
    """Images pulled, bundles unpacked, programs read. `notes` are lines for the participant's log."""

    request: RunRequest
    folder: RunFolder
    programs: Programs = field(default_factory=Programs)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutedRun:
    """The participant's program has ended, and the ingestion program of a prediction run beside it.

    Both have an outcome a command, none where there was nothing to run.
    """

    staged: StagedRun
    participant: tuple[Outcome, ...] = ()
    ingestion: tuple[Outcome, ...] = ()
    notes: tuple[str, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """The scoring program has ended; `ingestion` has the outcomes of either stage's ingestion program."""

    executed: ExecutedRun
    scoring: tuple[Outcome, ...] = ()
    ingestion: tuple[Outcome, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """Logs and archives are stored, as far as there were any; all that is left is to tell the site.

    `fault` is why the run failed, and `ingestion_duration` the seconds that ingestion took, where it ran.
    """

    fault: Fault | None = None
    ingestion_duration: float | None = None
