"""Three workers, hundreds of runs, and everything breaks at random: `make chaos`.

The seed repeats what is drawn, in the same order; when it strikes depends on the machine. The exit code is 1
where anything that must be zero is not.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

import click

from tests.chaos.campaign import Plan, wreak
from tests.chaos.place import Place, place
from tests.chaos.witness import Run
from worker.demo.parts import Parts
from worker.demo.places import say
from worker.demo.program import run_program
from worker.demo.signals import terminable


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    plan = Plan(options.seed, options.runs, options.workers, options.minutes)
    say("chaos", f"seed {plan.seed}: {plan.runs} runs on {plan.workers} workers, {plan.minutes:g} minutes at most")
    with terminable(), place(Parts.from_environment(), own=True) as there:
        figures, bad = wreak(plan, there)
        if bad or not figures.good:
            _explain(bad, there, options.results)
    click.echo(figures.table())
    say("chaos", f"seed {plan.seed}; the figures are in {figures.save(options.results)}")
    return 0 if figures.good else 1


def _explain(bad: Sequence[Run], there: Place, results: Path) -> None:
    """What was told of each bad run, and the logs of the workers for whoever has to find out why."""
    for run in bad:
        said = [f"{one.update.status} by {one.teller} at {_clock(one.at)}" for one in run.tellings]
        say("chaos", f"run {run.message}: {', '.join(said) or 'nothing'}")
    for log in there.folder.glob("worker-*/worker.log"):
        results.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, results / f"{log.parent.name}.log")


def _clock(at: float) -> str:
    """As in the logs."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f}"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000), help="default: a random one")
    parser.add_argument("--runs", type=int, default=200, help="default 200")
    parser.add_argument("--workers", type=int, default=3, help="default 3")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which it ends (default 10)")
    parser.add_argument("--results", type=Path, default=Path("chaos-results"), help="folder of the JSON files")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_program("chaos", main)
