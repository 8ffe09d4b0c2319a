"""The organiser's scoring program over what the participant left."""

from __future__ import annotations

from protocol.run import Role
from worker.kept.records import ExecutedRun, ScoredRun
from worker.stages.containers import RunContext, organiser_specs
from worker.stages.programs import Ran, in_turn, side_by_side


def score(executed: ExecutedRun, context: RunContext) -> ScoredRun:
    """Runs the scoring program, and the ingestion program of a scoring run beside it.

    Where the participant's program failed, or the run predicts only, nothing runs.
    """
    staged = executed.staged
    if executed.fault or not staged.programs.scoring:
        return ScoredRun(executed, ingestion=executed.ingestion, fault=executed.fault)
    scoring = in_turn(organiser_specs(staged, Role.SCORING, context), Role.SCORING, staged)
    if staged.programs.ingestion:
        ingestion = in_turn(organiser_specs(staged, Role.INGESTION, context), Role.INGESTION, staged)
        scored, ingested = side_by_side((scoring, ingestion), context)
    else:
        scored, ingested = scoring(context), Ran()
    return ScoredRun(executed, scored.outcomes, ingested.outcomes, scored.fault or ingested.fault)
