"""What was measured: samples with their unit, their middle and their tail, and the target where there is one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `target` is what the median must stay under, in the row's unit."""

    name: str
    unit: str
    samples: tuple[float, ...]
    target: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def p95(self) -> float | None:
        """None for a single sample, which has no tail."""
        if len(self.samples) == 1:
            return None
        return statistics.quantiles(self.samples, n=20, method="inclusive")[-1]

    @property
    def verdict(self) -> str:
        """`reached` or `MISSED`; empty where nothing was to reach."""
        if self.target is None:
            return ""
        return "reached" if self.median < self.target else "MISSED"

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "p95": self.p95,
            "target": self.target,
            "verdict": self.verdict or None,
            "samples": self.samples,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds of one worker's run, and of the floor measured just before it."""

    floor: float
    worker: float

    @property
    def overhead(self) -> float:
        return self.worker - self.floor

    @property
    def ratio(self) -> float:
        return self.worker / self.floor


def comparison(name: str, pairs: Sequence[Pair], *, overhead_target: float | None = None) -> list[Figure]:
    """The rows of one worker: differences and ratios are taken pair by pair, so that a machine's moods cancel out."""
    return [
        Figure(f"{name}: publish to terminal status", "s", tuple(pair.worker for pair in pairs)),
        Figure(f"{name}: its floor", "s", tuple(pair.floor for pair in pairs)),
        Figure(f"{name}: overhead (worker - floor)", "s", tuple(pair.overhead for pair in pairs), overhead_target),
        Figure(f"{name}: ratio (worker / floor)", "", tuple(pair.ratio for pair in pairs)),
    ]
