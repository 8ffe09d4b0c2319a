"""A small run: floor and workers take turns, and each run is held against the floor just before and just after it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.bench.figures import CPU_SECONDS, Figure, Target, between, latencies
from tests.bench.floor import Floor, FloorTime, floor
from tests.bench.place import Bench, Contender
from tests.bench.site import Latency
from tests.support.competition import Submission
from worker.demo.competition import SLOTS

OVERHEAD = Target("<", 0.05)


@dataclass(frozen=True, slots=True)
class _Turns:
    """Everybody's, in the order in which they were taken; the floor has one more than all others together."""

    floors: list[FloorTime] = field(default_factory=list)
    runs: list[tuple[str, Latency]] = field(default_factory=list)


def small_run(bench: Bench) -> list[Figure]:
    """Latency and overhead, under both policies of pulling that are of use; the worker's CPU seconds a run."""
    sizes = bench.sizes
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours_by_pull_policy())
        workers = [*ours, *stack.enter_context(bench.theirs())]
        results = _rehearsed(ours[0], bench.around.small_run())
        bare = stack.enter_context(floor(bench.around))
        _take_turns(bench, bare, workers, results, sizes.warm_ups)
        burnt = [worker.daemon.cpu_seconds() for worker in workers]
        turns = _take_turns(bench, bare, workers, results, sizes.pairs)
        used = [worker.daemon.cpu_seconds() - before for worker, before in zip(workers, burnt, strict=True)]
    busy = [
        Figure(f"{worker.name}: CPU of the worker per run", CPU_SECONDS, (seconds / sizes.pairs,))
        for worker, seconds in zip(workers, used, strict=True)
    ]
    theirs = {worker.name for worker in workers} - {worker.name for worker in ours}
    return [*_floor_figures(turns.floors), *_run_figures(turns, theirs), *busy]


def _rehearsed(worker: Contender, submission: Submission) -> Mapping[str, bytes]:
    """What a run stores, by the blob's name."""
    worker.site.run(worker.queue, submission)
    assert submission.archive()["scores.txt"] == b"correct: 1\n", "the output is not what it should be"
    return {name: submission.read(name) for name in SLOTS.values()}


def _take_turns(
    bench: Bench, bare: Floor, workers: list[Contender], results: Mapping[str, bytes], count: int
) -> _Turns:
    turns = _Turns([bare.measure(bench.around.small_run(), results)])
    for _ in range(count):
        for worker in workers:
            turns.runs.append((worker.name, worker.site.run(worker.queue, bench.around.small_run())))
            turns.floors.append(bare.measure(bench.around.small_run(), results))
    return turns


def _run_figures(turns: _Turns, without_target: set[str]) -> list[Figure]:
    pairs = between([floor.total for floor in turns.floors], [run.ended for _, run in turns.runs])
    figures = []
    for name in dict.fromkeys(name for name, _ in turns.runs):
        running = tuple(run.running for worker, run in turns.runs if worker == name)
        own = [pair for pair, (worker, _) in zip(pairs, turns.runs, strict=True) if worker == name]
        figures.append(Figure(f"{name}: publish to running", "s", running))
        figures += latencies(name, own, overhead=None if name in without_target else OVERHEAD)
    return figures


def _floor_figures(floors: list[FloorTime]) -> list[Figure]:
    """Where the floor itself goes."""
    return [
        Figure("floor: whole", "s", tuple(floor.total for floor in floors)),
        Figure("floor: 4 GETs", "s", tuple(floor.gets for floor in floors)),
        Figure("floor: 2 containers", "s", tuple(floor.containers for floor in floors)),
        Figure("floor: 5 PUTs", "s", tuple(floor.puts for floor in floors)),
    ]
