"""What was measured: samples with their unit, their middle and their tail, and the target where there is one."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

CPU_SECONDS = "CPU s"
"""A unit: user and system time of all threads."""

_SECONDS = 60.0  # of a minute


@dataclass(frozen=True, slots=True)
class Target:
    """What the median is to be, in the row's unit."""

    sign: Literal["<", "<=", ">="]
    value: float

    def is_reached(self, median: float) -> bool:
        match self.sign:
            case "<":
                return median < self.value
            case "<=":
                return median <= self.value
            case ">=":
                return median >= self.value

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a curve: what grows, how far it has grown, and the name of the line there."""

    axis: str
    at: float
    line: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One row."""

    name: str
    unit: str
    samples: tuple[float, ...]
    target: Target | None = None
    point: Point | None = None

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
        return "reached" if self.target.is_reached(self.median) else "MISSED"

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "p95": self.p95,
            "target": str(self.target) if self.target else None,
            "verdict": self.verdict or None,
            "point": asdict(self.point) if self.point else None,
            "samples": self.samples,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds that a worker took for something, and those of the floor around that moment."""

    floor: float
    worker: float

    @property
    def overhead(self) -> float:
        return self.worker - self.floor

    @property
    def ratio(self) -> float:
        return self.worker / self.floor

    @property
    def share(self) -> float:
        """Of the floor's rate, the worker's."""
        return self.floor / self.worker


def between(floors: Sequence[float], workers: Sequence[float]) -> list[Pair]:
    """Each of the worker's with the mean of the floor just before and just after: a machine's moods cancel out."""
    around = [statistics.mean(pair) for pair in itertools.pairwise(floors)]
    return [Pair(floor, worker) for floor, worker in zip(around, workers, strict=True)]


def latencies(name: str, pairs: Sequence[Pair], *, overhead: Target | None = None) -> list[Figure]:
    """The rows of runs one at a time; differences and ratios are taken pair by pair."""
    return [
        Figure(f"{name}: publish to terminal status", "s", tuple(pair.worker for pair in pairs)),
        Figure(f"{name}: its floor", "s", tuple(pair.floor for pair in pairs)),
        Figure(f"{name}: overhead (worker - floor)", "s", tuple(pair.overhead for pair in pairs), overhead),
        Figure(f"{name}: ratio (worker / floor)", "", tuple(pair.ratio for pair in pairs)),
    ]


def rates(name: str, pairs: Sequence[Pair], *, share: Target | None = None) -> list[Figure]:
    """The rows of many runs; the pairs are of seconds a run."""
    return [
        Figure(f"{name}: runs", "/min", tuple(_SECONDS / pair.worker for pair in pairs)),
        Figure(f"{name}: the engine's own rate", "/min", tuple(_SECONDS / pair.floor for pair in pairs)),
        Figure(f"{name}: share of the engine's own rate", "", tuple(pair.share for pair in pairs), share),
    ]
