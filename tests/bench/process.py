"""A worker that has nothing to do: how soon it is there, what it holds, what it burns."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

from tests.bench.figures import Figure, Target, between
from tests.bench.place import Bench, Contender

START = Target("<", 0.7)  # seconds
CPU = Target("<", 0.1)  # percent of one CPU
MEMORY = Target("<", 60.0)  # MB
_LIBRARIES = "click, docker, dotenv, pika, psutil, pydantic, requests, structlog, tenacity, yaml"
_MB = 1_000_000


def process(bench: Bench) -> list[Figure]:
    """Start-ups, in turns with their floor; then with nothing to do."""
    figures = _starts(bench)
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours("this worker"))
        theirs = stack.enter_context(bench.theirs())
        figures += _idle(bench, ours, cpu=CPU, memory=MEMORY)
        for other in theirs:
            figures.append(Figure(f"{other.name}: start-up to consuming", "s", (other.daemon.start_up,)))
            figures += [_named(other.name, figure) for figure in _idle(bench, other)]
    return figures


def _starts(bench: Bench) -> list[Figure]:
    """The first of each does not count, for it may have to compile what it imports."""
    _start_up(bench)
    floors, started = [_imported() for _ in range(2)][1:], []
    for _ in range(bench.sizes.starts):
        started.append(_start_up(bench))
        floors.append(_imported())
    pairs = between(floors, started)
    return [
        Figure("start-up to consuming", "s", tuple(started), START),
        Figure("start-up: the libraries alone imported", "s", tuple(pair.floor for pair in pairs)),
        Figure("start-up: ratio (worker / libraries)", "", tuple(pair.ratio for pair in pairs)),
    ]


def _imported() -> float:
    """Seconds of a Python that imports what the worker is built upon, and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {_LIBRARIES}"], check=True)
    return time.perf_counter() - began


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
