"""Draws the curves of a bench as a PNG: `make bench-plot`, of the newest results or of the file that is named."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import CPU_SECONDS
from worker.demo.places import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT, _DPI = 6.0, 3.6, 120  # inches a panel, dots an inch
_COLUMNS = 2
_UNITS = {"s": "seconds", CPU_SECONDS: "CPU seconds", "/min": "runs a minute", "": "share"}
_FAR = 20.0  # from here on an axis is logarithmic


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share both axes; each is points of (what has grown, median), from left to right."""

    axis: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def panels(document: Mapping[str, Any]) -> list[Panel]:
    """The curves in a file of results; what has no place on one is left out."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for figure in document["figures"]:
        if point := figure["point"]:
            lines = found.setdefault((point["axis"], figure["unit"]), {})
            lines.setdefault(point["line"], []).append((point["at"], figure["median"]))
    return [
        Panel(axis, unit, {line: sorted(points) for line, points in lines.items()})
        for (axis, unit), lines in found.items()
    ]


def draw(document: Mapping[str, Any], target: Path) -> None:
    """Writes the picture. Raises `ValueError` where there is nothing to draw."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- takes a second, which the tests of `panels` need not spend

    drawn = panels(document)
    if not drawn:
        raise ValueError("these results hold no curve: they are of the sections slots, queue, workers and cache")
    rows = -(-len(drawn) // _COLUMNS)
    picture = Figure(figsize=(_COLUMNS * _WIDTH, rows * _HEIGHT), dpi=_DPI, layout="constrained")
    for number, panel in enumerate(drawn, 1):
        _draw_panel(picture.add_subplot(rows, _COLUMNS, number), panel)
    about = document["machine"]
    picture.suptitle(f"codalab-worker {about['commit']}, {document['date']}: {about['cpus']}, {about['engine']}")
    picture.savefig(target)


def newest(folder: Path) -> Path:
    """The latest results there; their names are their dates. Raises `FileNotFoundError`."""
    found = sorted(folder.glob("*.json"))
    if not found:
        raise FileNotFoundError(f"no results in {folder}: run `make bench` first")
    return found[-1]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for name, points in panel.lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    places = sorted({at for points in panel.lines.values() for at, _ in points})
    if places[-1] >= _FAR * max(places[0], 1.0):
        axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xlabel(panel.axis)
    axes.set_ylabel(_UNITS.get(panel.unit, panel.unit))
    axes.margins(y=0.15)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plot", description=__doc__)
    parser.add_argument(
        "results", nargs="?", type=Path, help="a file of results (default: the newest in bench-results)"
    )
    source = parser.parse_args(arguments).results or newest(Path("bench-results"))
    target = source.with_suffix(".png")
    draw(json.loads(source.read_text()), target)
    say("bench-plot", f"the curves of {source} are in {target}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"bench-plot: {error}")
