"""A fleet of workers on hosts of their own, RabbitMQ between them: `make fleet`.

Runs with a container are bound by the engine, whose own rate is measured in the same run; runs that are refused go
through every message of a run without one, for the broker's sake. The exit code is 1 where anything that must be
zero is not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import click

from tests.fleet import report
from tests.fleet.campaign import Plan, campaign
from tests.fleet.place import place
from tests.fleet.workload import Kind
from worker import logs
from worker.demo.parts import Parts
from worker.demo.places import say
from worker.demo.program import run_program
from worker.demo.signals import terminable


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    runs = {Kind.SCORED: options.runs, Kind.REFUSED: options.refused}
    host = Parts.from_environment().docker_host
    with terminable(), place(host, options.workers, terms=options.terms) as there:
        figures = campaign(Plan(runs, options.containers, options.idle, options.minutes), there)
    click.echo(report.table(figures))
    say("fleet", f"the figures are in {report.save(options.results, figures)}")
    return 0 if figures.good else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--workers", type=int, default=16, help="each on a host of its own (default 16)")
    parser.add_argument("--runs", type=int, default=1000, help="with a container each (default 1000)")
    parser.add_argument("--refused", type=int, default=1000, help="runs that need no container (default 1000)")
    parser.add_argument("--containers", type=int, default=200, help="bare ones, for the engine's rate (default 200)")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds of idleness that are watched (default 30)")
    parser.add_argument("--minutes", type=float, default=10.0, help="that each kind of run has at most (default 10)")
    parser.add_argument("--terms", default="", help='settings of the broker, such as "{heartbeat, 30},"')
    parser.add_argument("--results", type=Path, default=Path("fleet-results"), help="folder of the JSON files")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    logs.configure("WARNING", "auto")  # the bare containers are staged by the worker's own rooms
    run_program("fleet", main)
