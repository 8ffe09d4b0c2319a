"""The worker's overhead over the floor, its memory and its idle CPU, in one run: `make bench`.

Floor and workers take turns, so that a noisy machine tells on all of them alike. The exit code is 0 where a
target is missed, too: the table says so.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tests.bench import report
from tests.bench.daemon import Memory, daemon
from tests.bench.figures import Figure
from tests.bench.floor import floor
from tests.bench.latency import Site, site
from tests.bench.surroundings import Surroundings, surroundings
from tests.bench.turns import Turns, floor_figures, take_turns
from worker import compose, logs
from worker.demo.parts import Parts
from worker.demo.places import say
from worker.demo.processes import PartsError
from worker.demo.signals import terminable

MEMORY_TARGET = 80.0  # MB
CPU_TARGET = 0.2  # percent of one CPU
DEFAULT, FRUGAL = "always", "if-not-present"
NAMES = {f"pull {DEFAULT}": DEFAULT, f"pull {FRUGAL}": FRUGAL}
"""The workers by their pull policy, which is their queue's name, too."""

_MB = 1_000_000
_STARTS = 3


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    logs.configure("WARNING", "auto")  # the floor's staging goes through the worker's own rooms
    before = os.getloadavg()[0]
    with terminable(), surroundings(Parts.from_environment()) as around:
        about = report.machine(around)
        with site(compose.broker(around.settings()).runs) as ours:
            figures = _measure(around, ours, options)
    about["load"] = f"{before:.2f} before, {os.getloadavg()[0]:.2f} after"
    click.echo(f"{report.facts(about)}\n\n{report.table(figures)}")
    say("bench", f"every sample is in {report.save(options.results, about, figures)}")


def _measure(around: Surroundings, ours: Site, options: argparse.Namespace) -> list[Figure]:
    """The default daemon alone, then a second one beside it, and floor and runs in turns."""
    say("bench", f"{_STARTS} starts, then {options.idle:g} s of nothing to do")
    started = [_start_up(around, ours, number) for number in range(1, _STARTS)]
    with daemon(_environment(around, DEFAULT), around.folder / DEFAULT, ours) as worker:
        started.append(worker.start_up)
        fresh, idle = worker.memory(), worker.idle_cpu_percent(ours, options.idle)
        say("bench", f"{options.warm_ups} + {options.pairs} turns of floor and worker for each pull policy")
        burnt = worker.cpu_seconds()
        turns = _turns(around, ours, options)
        per_run = (worker.cpu_seconds() - burnt) / (options.warm_ups + options.pairs)
        used = worker.memory()
    busy = Figure(f"pull {DEFAULT}: CPU of the worker per run", "s", (per_run,))
    return [*_run_figures(turns), busy, *_process_figures(started, idle, fresh, used)]


def _start_up(around: Surroundings, ours: Site, number: int) -> float:
    with daemon(_environment(around, DEFAULT), around.folder / f"start-{number}", ours) as worker:
        return worker.start_up


def _turns(around: Surroundings, ours: Site, options: argparse.Namespace) -> list[Turns]:
    with daemon(_environment(around, FRUGAL), around.folder / FRUGAL, ours):
        rehearsal = around.small_run()
        ours.run(FRUGAL, rehearsal)
        with floor(around, rehearsal) as bare:
            return take_turns(around, ours, bare, NAMES, warm_ups=options.warm_ups, counted=options.pairs)


def _environment(around: Surroundings, policy: str) -> dict[str, str]:
    return around.environment(WORKER_QUEUE=policy, WORKER_PULL_POLICY=policy)


def _run_figures(all_turns: Sequence[Turns]) -> list[Figure]:
    floors = [floor for turns in all_turns for floor in turns.floors]
    return [*floor_figures(floors), *(figure for turns in all_turns for figure in turns.figures())]


def _process_figures(started: Sequence[float], idle: float, fresh: Memory, used: Memory) -> list[Figure]:
    return [
        Figure("start-up to consuming", "s", tuple(started)),
        Figure("idle CPU", "%", (idle,), CPU_TARGET),
        Figure("idle memory (RSS) after start", "MB", (fresh.rss / _MB,), MEMORY_TARGET),
        Figure("idle memory (PSS) after start", "MB", (fresh.pss / _MB,)),
        Figure("idle memory (RSS) after the runs", "MB", (used.rss / _MB,), MEMORY_TARGET),
        Figure("idle memory (PSS) after the runs", "MB", (used.pss / _MB,)),
        Figure("peak memory (RSS) of the runs", "MB", (used.peak_rss / _MB,)),
    ]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--pairs", type=_at_least_one, default=10, help="counted turns (default 10)")
    parser.add_argument("--warm-ups", type=int, default=2, help="turns before them that do not count (default 2)")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of idleness that are watched (default 20)")
    parser.add_argument("--results", type=Path, default=Path("bench-results"), help="folder of the JSON files")
    return parser.parse_args(arguments)


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PartsError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
