"""The figures of a fleet for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.fleet.figures import MUST_BE_ZERO, Figures, Idle, Phase

_MB = 1e6
_Row = tuple[str, str, str]


def table(figures: Figures) -> str:
    """One line a figure, and whether what must be zero is."""
    rows = [*_fleet_rows(figures), *_idle_rows(figures.idle)]
    gone = figures.gone
    rows.append(("gone worker: queues", f"{gone.queues:.1f}", ""))
    rows.append(("gone worker: memory of the broker, kB", f"{gone.broker_memory / 1e3:.0f}", ""))
    for phase in figures.phases:
        rows += [("", "", ""), *_phase_rows(phase)]
    names, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:{names}}  {value:>{values}}  {verdict}".rstrip() for name, value, verdict in rows)


def save(folder: Path, figures: Figures) -> Path:
    """Writes them to a new file named by the moment."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC)
    path = folder / f"{moment:%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps({"date": moment.isoformat(timespec="seconds"), **figures.as_json()}, indent=2) + "\n")
    return path


def _fleet_rows(figures: Figures) -> Iterator[_Row]:
    yield "workers", str(figures.workers), ""
    yield "the engine alone, containers a minute", " / ".join(f"{rate:.0f}" for rate in figures.engine), ""
    yield "workers that ended uncleanly", str(figures.unclean_exits), _verdict(figures.unclean_exits)


def _idle_rows(idle: Idle) -> Iterator[_Row]:
    for name in ("connections", "channels", "consumers", "queues", "erlang_processes", "files"):
        yield f"idle worker: {name.replace('_', ' ')}", f"{getattr(idle, name):.1f}", ""
    yield from _by_link("idle worker, a minute", idle.messages, 60)
    yield from _by_link("idle worker, octets a minute", idle.octets, 60)
    yield "idle worker: memory of the broker, kB", f"{idle.broker_memory / 1e3:.0f}", ""
    yield "idle worker: CPU of the broker, %", f"{idle.broker_cpu:.3f}", ""
    yield "idle worker: its own CPU, %", f"{idle.worker_cpu:.3f}", ""
    yield "idle worker: its memory, RSS and PSS, MB", _sizes(idle.worker_resident, idle.worker_proportional), ""
    yield "broker without workers: RSS, MB", _sizes(idle.broker_resident_alone), ""


def _phase_rows(phase: Phase) -> Iterator[_Row]:
    yield f"{phase.kind}: runs", str(phase.runs), ""
    for name in MUST_BE_ZERO:
        yield f"{phase.kind}: {name.replace('_', ' ')}", str(getattr(phase, name)), _verdict(getattr(phase, name))
    yield f"{phase.kind}: seconds", f"{phase.seconds:.1f}", ""
    yield f"{phase.kind}: runs a minute", f"{phase.per_minute:.0f}", ""
    if phase.share_of_engine is not None:
        yield f"{phase.kind}: share of the engine's own rate", f"{phase.share_of_engine:.2f}", ""
    shares = phase.runs_of_workers
    spread = f"{min(shares)} / {median(shares):g} / {max(shares)}"
    yield f"{phase.kind}: runs of a worker, min / median / max", spread, ""
    yield f"{phase.kind}: evenness (Jain's index)", f"{phase.evenness:.4f}", ""
    yield from _by_link(f"{phase.kind}, a run", phase.messages, 1)
    yield from _by_link(f"{phase.kind}, octets a run", phase.octets, 1)
    yield f"{phase.kind}, a run: queue declarations", f"{phase.declares:.2f}", ""
    yield f"{phase.kind}, a run: CPU of the broker, ms", f"{phase.broker_cpu * 1e3:.1f}", ""
    yield f"{phase.kind}, a run: CPU of its worker, ms", f"{phase.worker_cpu * 1e3:.1f}", ""
    yield f"{phase.kind}: broker, RSS and its peak, MB", _sizes(phase.broker_resident, phase.broker_peak_resident), ""
    yield f"{phase.kind}: worker, RSS and PSS, MB", _sizes(phase.worker_resident, phase.worker_proportional), ""


def _by_link(what: str, counted: Mapping[str, Mapping[str, float]], times: float) -> Iterator[_Row]:
    for link, kinds in counted.items():
        for kind, number in kinds.items():
            yield f"{what}: {link} {kind}", f"{number * times:.2f}", ""


def _sizes(*sizes: float) -> str:
    return " / ".join(f"{size / _MB:.0f}" for size in sizes)


def _verdict(number: int) -> str:
    return "MUST BE 0" if number else "ok"
