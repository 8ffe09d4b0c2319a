"""The `metadata` file in the output archive: how each container of the run ended, as YAML."""

from __future__ import annotations

import yaml

from sandbox.outcome import Outcome
from worker.kept.records import ScoredRun


def result_metadata(scored: ScoredRun) -> bytes:
    """`exitCode` and `elapsedTime` (seconds) of the scoring program, and those of the others that ran.

    Where no scoring program ran, the participant's stands in its place: the site reads `exitCode`. A
    program of several commands has a list of each, as far as it came.
    """
    executed = scored.executed
    document: dict[str, object] = {
        **_ended(scored.scoring or executed.participant),
        "ingestionExitCode": _codes(scored.ingestion),
    }
    if executed.staged.request.submission:
        document["participantExitCode"] = _codes(executed.participant)
        document["participantElapsedTime"] = _times(executed.participant)
    return yaml.safe_dump(document, sort_keys=False).encode()


def _ended(outcomes: tuple[Outcome, ...]) -> dict[str, object]:
    return {"exitCode": _codes(outcomes), "elapsedTime": _times(outcomes)}


def _codes(outcomes: tuple[Outcome, ...]) -> object:
    return _plain([outcome.exit_code for outcome in outcomes])


def _times(outcomes: tuple[Outcome, ...]) -> object:
    return _plain([round(outcome.elapsed, 3) for outcome in outcomes])


def _plain(values: list[float] | list[int]) -> object:
    """One value alone, none as null, several as a list."""
    return values if len(values) > 1 else next(iter(values), None)
