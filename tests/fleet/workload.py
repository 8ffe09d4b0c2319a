"""The cheapest runs there are: one with a container that does next to nothing, and one without any."""

from __future__ import annotations

from enum import StrEnum

from tests.support.competition import Competition, Submission
from worker.demo.competition import zipped

# The image's `cp` is busybox, a static binary: nothing is loaded, interpreted or computed.
_PROGRAM = {"metadata": b"command: cp $input/ref/scores.txt $output/scores.txt\n"}
_REF = {"scores.txt": b"correct: 1\n"}
_STORED = ("program.zip", "ref.zip", "run.txt", "input.txt")


class Kind(StrEnum):
    """What a run comes to."""

    SCORED = "scored"
    """Its score is copied by a container; `finished`."""
    REFUSED = "refused"
    """Its bundle is missing: no container, but every message of a run; `failed`."""


ENDS = {Kind.SCORED: "finished", Kind.REFUSED: "failed"}
"""The terminal status of each."""


class Workload:
    """Makes runs that share their bundles, as the submissions of a phase do, and have results of their own."""

    def __init__(self, competition: Competition) -> None:
        self._competition = competition
        self._shared = competition.submission(
            bundles={"program.zip": zipped(_PROGRAM), "ref.zip": zipped(_REF)},
            documents={"input.txt": {"ref": "ref.zip"}},
        )

    def run(self, kind: Kind) -> Submission:
        """Another run; nothing is stored for it."""
        bundle = {"bundle_url": self._shared.task_args["bundle_url"]} if kind is Kind.SCORED else {}
        return self._competition.submission(bundles=dict.fromkeys(_STORED), **bundle)
