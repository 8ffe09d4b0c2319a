"""A worker that has nothing to do: how soon it is there, what it holds, what it burns."""

from __future__ import annotations

from contextlib import ExitStack

from tests.bench.figures import Figure, Target
from tests.bench.place import Bench, Contender

START = Target("<", 0.7)  # seconds
CPU = Target("<", 0.1)  # percent of one CPU
MEMORY = Target("<", 60.0)  # MB
_MB = 1_000_000


def process(bench: Bench) -> list[Figure]:
    """Start-up is counted from the second start on: the first one may have to compile what it imports."""
    started = [_start_up(bench) for _ in range(bench.sizes.starts)][1:]
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours("this worker"))
        theirs = stack.enter_context(bench.theirs())
        started.append(ours.daemon.start_up)
        figures = [
            Figure("start-up to consuming", "s", tuple(started), START),
            *_idle(bench, ours, cpu=CPU, memory=MEMORY),
        ]
        for other in theirs:
            figures.append(Figure(f"{other.name}: start-up to consuming", "s", (other.daemon.start_up,)))
            figures += [_named(other.name, figure) for figure in _idle(bench, other)]
    return figures


def _start_up(bench: Bench) -> float:
    with bench.ours("start") as worker:
        return worker.daemon.start_up


def _idle(bench: Bench, worker: Contender, *, cpu: Target | None = None, memory: Target | None = None) -> list[Figure]:
    burnt = worker.daemon.idle_cpu_percent(bench.sizes.idle)
    fresh = worker.daemon.memory()
    worker.together(bench.around.stub_runs(1))
    used = worker.daemon.memory()
    return [
        Figure("idle CPU", "%", (burnt,), cpu),
        Figure("idle memory (RSS) after start", "MB", (fresh.rss / _MB,), memory),
        Figure("idle memory (PSS) after start", "MB", (fresh.pss / _MB,)),
        Figure("idle memory (RSS) after a run", "MB", (used.rss / _MB,), memory),
    ]


def _named(name: str, figure: Figure) -> Figure:
    return Figure(f"{name}: {figure.name}", figure.unit, figure.samples)
