"""The participant's program, and the ingestion program that may run beside it; what they left."""

from __future__ import annotations

from collections.abc import Iterator

from protocol.run import Role
from sandbox.engine import ContainerSpec
from sandbox.outcome import ExitReason
from worker.archives import tree
from worker.kept.records import ExecutedRun, StagedRun
from worker.stages import containers
from worker.stages.containers import RunContext
from worker.stages.programs import Ran, in_turn, side_by_side


def execute(staged: StagedRun, context: RunContext) -> ExecutedRun:
    """Runs what the participant submitted, and makes what it left safe for the next container.

    The ingestion program of a prediction run is run beside it; that of a scoring run comes with scoring.
    """
    participant = in_turn(_participant_specs(staged, context), Role.PARTICIPANT, staged)
    if staged.request.predict and staged.programs.ingestion:
        ingestion = in_turn(containers.organiser_specs(staged, Role.INGESTION, context), Role.INGESTION, staged)
        theirs, organisers = side_by_side((participant, ingestion), context)
    else:
        theirs, organisers = participant(context), Ran()
    cleaned = context.journal.record.cleaned
    if cleaned is None:
        cleaned = _clean(staged, theirs)
        context.journal.note(cleaned=cleaned)
    notes = (*theirs.notes, *cleaned)
    return ExecutedRun(staged, theirs.outcomes, organisers.outcomes, notes, fault=theirs.fault or organisers.fault)


def _participant_specs(staged: StagedRun, context: RunContext) -> Iterator[ContainerSpec]:
    if staged.request.submission and staged.programs.docker_submission:
        yield containers.docker_submission_spec(staged, staged.request.submission, context)
    else:
        yield from containers.code_submission_specs(staged, context)


def _clean(staged: StagedRun, ran: Ran) -> tuple[str, ...]:
    """What a docker submission left for the scoring program: a link in it must not reach the reference data.

    Without a use for it, more names than anybody may leave are not looked at one by one.
    """
    if not staged.programs.docker_submission or staged.request.predict:
        return ()
    if any(outcome.reason is ExitReason.OUTPUT_FILES_LIMIT for outcome in ran.outcomes):
        return ()
    return tuple(f"left out of your output: {entry}" for entry in tree.sanitise(staged.folder.results))
