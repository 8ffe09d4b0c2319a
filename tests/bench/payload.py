"""Runs with much data: what they take against the plain steps one after another, and what memory."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import requests

from tests.bench.figures import Figure, Target, between
from tests.bench.floor import Floor, Laid, fetch, floor, new_session, put
from tests.bench.place import Bench
from tests.bench.surroundings import Surroundings
from tests.support.competition import Submission

RATIO = Target("<=", 0.6)
FLAT = Target("<", 10.0)  # MB
_LIMIT = 120  # seconds that a container may copy
_MB = 1_000_000
_BLOCK = 16 * _MB  # far more than deflate looks back


def big_run(bench: Bench) -> list[Figure]:
    """Incompressible data in, a part of it out, against GET, unzip, run, deflate, PUT one after another."""
    sizes, around = bench.sizes, bench.around
    name = f"{sizes.big_in // _MB} MB in, {sizes.big_out // _MB} MB out"
    with bench.ours("big") as worker, floor(around) as bare, new_session() as session:
        data = _stored_input(around, session, sizes.big_in)
        rehearsal = _copying_run(around, data, sizes.big_out)
        worker.site.run(worker.queue, rehearsal)
        with bare.laid(rehearsal) as laid:
            steps = _Steps(around, session, bare, laid, data)
            floors, runs = [steps.seconds()], []
            for _ in range(sizes.big_pairs):
                runs.append(worker.site.run(worker.queue, _copying_run(around, data, sizes.big_out)).ended)
                floors.append(steps.seconds())
    pairs = between(floors, runs)
    return [
        Figure(f"{name}: publish to terminal status", "s", tuple(runs)),
        Figure(f"{name}: GET, unzip, run, deflate, PUT", "s", tuple(pair.floor for pair in pairs)),
        Figure(f"{name}: ratio (worker / floor)", "", tuple(pair.ratio for pair in pairs), RATIO),
    ]


def memory(bench: Bench) -> list[Figure]:
    """The most that a fresh worker has held when it has worked a run with little data, and one with much."""
    peaks = [_peak(bench, size) / _MB for size in bench.sizes.payloads]
    less, more = bench.sizes.payloads
    return [
        *(
            Figure(f"peak memory (RSS), {size // _MB} MB payload", "MB", (peak,))
            for size, peak in zip(bench.sizes.payloads, peaks, strict=True)
        ),
        Figure(f"peak memory, {more // _MB} MB more than {less // _MB} MB", "MB", (peaks[1] - peaks[0],), FLAT),
    ]


def _peak(bench: Bench, size: int) -> int:
    """All of it comes in, and a quarter goes out."""
    around = bench.around
    with bench.ours("payload") as worker, new_session() as session:
        worker.site.run(worker.queue, _copying_run(around, _stored_input(around, session, size), size // 4))
        return worker.daemon.memory().peak_rss


class _Steps:
    """What a plain script would do, one step after another; the container's is the worker's own, over a staged run."""

    def __init__(self, around: Surroundings, session: requests.Session, bare: Floor, laid: Laid, data: str) -> None:
        self._around = around
        self._session = session
        self._bare = bare
        self._laid = laid
        self._data = data

    def seconds(self) -> float:
        with _scratch(self._around) as folder:
            target = f"{self._around.competition.container}/{uuid4()}"
            url = self._around.competition.store.url(target, "cw")
            began = time.perf_counter()
            fetch(self._session, self._data, folder / "data.zip")
            with zipfile.ZipFile(folder / "data.zip") as archive:
                archive.extractall(folder / "unzipped")
            self._bare.run(self._laid)
            self._deflate(folder / "output.zip")
            put(self._session, url, folder / "output.zip")
            return time.perf_counter() - began

    def _deflate(self, target: Path) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in self._laid.output.iterdir():
                archive.write(file, file.name)


def _stored_input(around: Surroundings, session: requests.Session, size: int) -> str:
    """The URL of an archive of so many bytes, made as `zip` makes one of what it cannot compress."""
    competition, name = around.competition, f"{around.competition.container}/{uuid4()}.zip"
    block = os.urandom(min(size, _BLOCK))
    with _scratch(around) as folder:
        with zipfile.ZipFile(folder / "data.zip", "w") as archive, archive.open("data.bin", "w") as file:
            for done in range(0, size, _BLOCK):
                file.write(block[: size - done])
        put(session, competition.store.url(name, "cw"), folder / "data.zip")
    return competition.store.url(name)


def _copying_run(around: Surroundings, data: str, size: int) -> Submission:
    script = f"head -c {size} /mnt/in/data.bin > /mnt/out/data.bin"
    return around.stub_run(script, data, execution_time_limit=_LIMIT)


@contextmanager
def _scratch(around: Surroundings) -> Iterator[Path]:
    """A folder of which nothing is left: these data are big."""
    folder = around.folder / f"scratch-{uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
