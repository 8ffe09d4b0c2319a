"""Everything that is measured of a worker, in one run: `make bench`.

Floor and workers take turns, so that a noisy machine tells on all of them alike: hold ratios and shares against each
other, never seconds of two runs. The exit code is 0 where a target is missed, too: the table says so.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from tests.bench import growth, payload, rates, report
from tests.bench.figures import Figure
from tests.bench.lateness import lateness
from tests.bench.place import FULL, TINY, Bench, Make
from tests.bench.process import process
from tests.bench.site import site
from tests.bench.small import small_run
from tests.bench.surroundings import surroundings
from worker import logs
from worker.demo.parts import Parts
from worker.demo.places import say
from worker.demo.program import run_program
from worker.demo.signals import terminable

SECTIONS: dict[str, Callable[[Bench], list[Figure]]] = {
    "process": process,
    "small": small_run,
    "row": rates.in_a_row,
    "slots": rates.side_by_side,
    "big": payload.big_run,
    "memory": payload.memory,
    "limits": lateness,
    "queue": growth.queue,
    "workers": growth.workers,
    "cache": growth.cache,
}


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    before = os.getloadavg()[0]
    sections: dict[str, list[Figure]] = {}
    with terminable(), surroundings(Parts.from_environment()) as around:
        about = report.machine(around)
        with site(around.owner.broker_url) as ours:
            bench = Bench(around, ours, TINY if options.tiny else FULL, tuple(options.other))
            try:
                for name in options.only:
                    sections[name] = _measured(name, bench)
            finally:  # what was measured before something broke is told, too
                about["load"] = f"{before:.2f} before, {os.getloadavg()[0]:.2f} after"
                _tell(about, sections, options.results)
    return 0


def _measured(name: str, bench: Bench) -> list[Figure]:
    began = time.monotonic()
    figures = SECTIONS[name](bench)
    say("bench", f"{name}: {time.monotonic() - began:.0f} s")
    return figures


def _tell(about: dict[str, str], sections: dict[str, list[Figure]], results: Path) -> None:
    if not sections:
        return
    click.echo(f"{report.facts(about)}\n\n{report.table(sections)}\n")
    say("bench", report.verdict(figure for figures in sections.values() for figure in figures))
    say("bench", f"every sample is in {report.save(results, about, sections)}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", type=_sections, default=list(SECTIONS), help=f"of {','.join(SECTIONS)} (default: all of them)"
    )
    parser.add_argument(
        "--other",
        type=_make,
        action="append",
        default=[],
        metavar="NAME=COMMAND LINE",
        help="another worker, which is told by its environment where the queue is; may be given more than once",
    )
    parser.add_argument("--tiny", action="store_true", help="as little as shows that all of it works")
    parser.add_argument("--results", type=Path, default=Path("bench-results"), help="folder of the JSON files")
    return parser.parse_args(arguments)


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def _make(text: str) -> Make:
    name, _, command = text.partition("=")
    if not name or not command.strip():
        raise argparse.ArgumentTypeError('write it as "NAME=command line"')
    return Make(name, tuple(shlex.split(command)))


if __name__ == "__main__":
    logs.configure("ERROR", "auto")  # the floor's staging goes through the worker's own rooms
    run_program("bench", main)
