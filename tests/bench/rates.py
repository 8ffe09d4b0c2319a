"""Many small runs of one container each, as a share of what the engine does with the same containers by itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from tests.bench.figures import Figure, Point, Target, between, rates
from tests.bench.floor import floor
from tests.bench.place import Bench, Contender

IN_A_ROW = Target(">=", 0.95)
SIDE_BY_SIDE = Target(">=", 0.9)
_JUDGED = 4  # slots
_AXIS = "slots (WORKER_CONCURRENCY)"
_MOST = 25  # runs of the engine's own before and after each batch


def in_a_row(bench: Bench) -> list[Figure]:
    """Runs that wait for a worker with one slot, under both policies of pulling; of other makes, too."""
    sizes = bench.sizes
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours_by_pull_policy(f"{sizes.in_a_row} in a row, "))
        workers = [*ours, *stack.enter_context(bench.theirs())]
        targets = {worker.name: IN_A_ROW for worker in ours}
        return _rounds(bench, workers, slots=1, count=sizes.in_a_row, rounds=sizes.rounds, targets=targets)


def side_by_side(bench: Bench) -> list[Figure]:
    """Runs on one worker with more and more slots."""
    figures = []
    for slots in bench.sizes.slots:
        name = f"{bench.sizes.many} runs, {slots} at a time"
        with bench.ours(name, WORKER_CONCURRENCY=str(slots)) as worker:
            targets = {name: SIDE_BY_SIDE} if slots == _JUDGED else {}
            taken = _rounds(bench, [worker], slots=slots, count=bench.sizes.many, rounds=1, targets=targets)
            figures += [_on_curve(figure, slots) for figure in taken]
    return figures


def _rounds(
    bench: Bench, workers: list[Contender], *, slots: int, count: int, rounds: int, targets: Mapping[str, Target]
) -> list[Figure]:
    """Engine, worker, engine, other worker, and again."""
    taken: dict[str, list[float]] = {worker.name: [] for worker in workers}
    with floor(bench.around, slots=slots) as bare, bare.laid(bench.around.stub_run()) as laid:
        for worker in workers:
            worker.together(bench.around.stub_runs(slots))  # what is done once only is done
        bare.seconds_per_run(laid, slots)
        few = min(_MOST, max(1, count // 2))
        floors = [bare.seconds_per_run(laid, few)]
        order = [worker for _ in range(rounds) for worker in workers]
        for worker in order:
            taken[worker.name].append(worker.together(bench.around.stub_runs(count)))
            floors.append(bare.seconds_per_run(laid, few))
    runs = [taken[worker.name][number // len(workers)] for number, worker in enumerate(order)]
    pairs = between(floors, runs)
    figures: list[Figure] = []
    for number, worker in enumerate(workers):
        own = pairs[number :: len(workers)]
        figures += rates(worker.name, own, share=targets.get(worker.name))
    return figures


def _on_curve(figure: Figure, slots: int) -> Figure:
    line = figure.name.partition(": ")[2]
    return Figure(figure.name, figure.unit, figure.samples, figure.target, Point(_AXIS, slots, line))
