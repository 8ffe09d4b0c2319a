"""Floor and workers in turns: floor, worker, floor, other worker, and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench.figures import Figure, Pair, comparison
from tests.bench.floor import Floor, FloorTime
from tests.bench.latency import Latency, Site
from tests.bench.surroundings import Surroundings

OVERHEAD_TARGET = 0.15  # seconds


@dataclass(frozen=True, slots=True)
class Turns:
    """What was counted of one worker, each time with the floor just before it."""

    name: str
    floors: list[FloorTime] = field(default_factory=list)
    runs: list[Latency] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        pairs = [Pair(floor.total, run.ended) for floor, run in zip(self.floors, self.runs, strict=True)]
        running = Figure(f"{self.name}: publish to running", "s", tuple(run.running for run in self.runs))
        return [running, *comparison(self.name, pairs, overhead_target=OVERHEAD_TARGET)]


def take_turns(
    around: Surroundings, ours: Site, floor: Floor, queues: Mapping[str, str], *, warm_ups: int, counted: int
) -> list[Turns]:
    """Measures the worker behind each queue (by the name it has in the table) `counted` times."""
    all_turns = [Turns(name) for name in queues]
    for number in range(warm_ups + counted):
        for turns in all_turns:
            bare = floor.measure(around.small_run())
            run = ours.run(queues[turns.name], around.small_run())
            if number >= warm_ups:
                turns.floors.append(bare)
                turns.runs.append(run)
    return all_turns


def floor_figures(floors: list[FloorTime]) -> list[Figure]:
    """Where the floor itself goes."""
    return [
        Figure("floor: whole", "s", tuple(floor.total for floor in floors)),
        Figure("floor: 4 GETs", "s", tuple(floor.gets for floor in floors)),
        Figure("floor: 2 containers", "s", tuple(floor.containers for floor in floors)),
        Figure("floor: 5 PUTs", "s", tuple(floor.puts for floor in floors)),
    ]
