"""The figures for people and for programs, and the machine that they were had on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.bench.figures import Figure
from tests.bench.surroundings import Surroundings
from worker.demo import engine

Sections = Mapping[str, Sequence[Figure]]
"""Figures by the section that measured them."""

_GIB = 1 << 30
_HEAD = ("", "median", "p95", "unit", "n", "target", "")


def machine(around: Surroundings) -> dict[str, str]:
    """What the figures depend on."""
    with closing(engine.connect(around.parts.docker_host)) as client:
        info = client.info()
    overview = around.management.get("overview")
    assert isinstance(overview, dict)
    return {
        "cpus": f"{os.cpu_count()} x {_cpu_model()}",
        "memory": f"{psutil.virtual_memory().total / _GIB:.1f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": f"Docker {info['ServerVersion']}, {info['Driver']}, cgroup v{info['CgroupVersion']}",
        "broker": f"RabbitMQ {overview['rabbitmq_version']}",
        "commit": _commit(),
    }


def table(sections: Sections) -> str:
    """One line a figure, with a blank one between sections."""
    rows = {name: [_cells(figure) for figure in figures] for name, figures in sections.items()}
    every = [_HEAD, *(row for section in rows.values() for row in section)]
    widths = [max(len(row[column]) for row in every) for column in range(len(_HEAD))]
    blocks = ["\n".join(_line(row, widths) for row in section) for section in rows.values()]
    return "\n\n".join([_line(_HEAD, widths), *blocks])


def verdict(figures: Iterable[Figure]) -> str:
    """How many targets were reached, and which were not."""
    judged = [figure for figure in figures if figure.target]
    missed = [figure.name for figure in judged if figure.verdict == "MISSED"]
    return f"{len(judged) - len(missed)} of {len(judged)} targets reached" + "".join(f"; MISSED: {n}" for n in missed)


def facts(given: Mapping[str, str]) -> str:
    """One line a fact."""
    width = max(map(len, given))
    return "\n".join(f"{name:{width}}  {value}" for name, value in given.items())


def save(folder: Path, about: Mapping[str, str], sections: Sections) -> Path:
    """Writes them to a new file named by the moment."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC)
    path = folder / f"{moment:%Y-%m-%dT%H%M%SZ}.json"
    document = {
        "date": moment.isoformat(timespec="seconds"),
        "machine": about,
        "figures": [{"section": name, **figure.as_json()} for name, figures in sections.items() for figure in figures],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        _number(figure.median),
        _number(figure.p95),
        figure.unit,
        str(len(figure.samples)),
        str(figure.target or ""),
        figure.verdict,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *cells = (
        cell.ljust(width) if column in {0, 3} else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join((name, *cells)).rstrip()


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"
