"""What a run costs as queues, fleets and caches grow: the CPU seconds of the workers, and how long it takes."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from tests.bench.figures import CPU_SECONDS, Figure, Point
from tests.bench.place import Bench, Contender
from tests.support.competition import Submission
from worker.bundles.shelf import Shelf
from worker.demo.competition import zipped
from worker.storage.version import Version

_WAITING, _WORKERS, _CACHED = "runs that wait", "workers on the queue", "cached bundles"
_GB = 1_000_000_000


def queue(bench: Bench) -> list[Figure]:
    """One worker at a queue that is longer and longer: seconds from one end of a run to the next."""
    figures = []
    for length in bench.sizes.waiting:
        with bench.ours("queue") as worker:
            figures += _at_a_queue(bench, worker, length)
    return figures


def _at_a_queue(bench: Bench, worker: Contender, length: int) -> list[Figure]:
    """So many wait throughout, all one and the same to the store; a last run shows that what was left over is done."""
    run, last, moments = bench.around.stub_run(), bench.around.stub_run(), []
    for _ in range(length + 1):
        worker.site.publish(worker.queue, run)
    ends = worker.site.ends({run.task_id})
    next(ends)
    before = worker.daemon.cpu_seconds()
    moments.append(time.perf_counter())
    for _ in range(bench.sizes.sample):
        worker.site.publish(worker.queue, run)
        moments.append(next(ends))
    burnt = worker.daemon.cpu_seconds() - before
    worker.site.purge(worker.queue)
    worker.site.run(worker.queue, last)
    taken = [after - before for before, after in itertools.pairwise(moments)]
    return _figures(_WAITING, length, "", taken, burnt)


def workers(bench: Bench) -> list[Figure]:
    """More and more processes at one queue, and one run after another for whichever takes it: what a fleet costs.

    The cost is that of all of them together: what the idle ones burn meanwhile is part of it.
    """
    figures = []
    for count in bench.sizes.workers:
        name = f"fleet-{count}"
        with ExitStack() as stack:
            fleet = [stack.enter_context(bench.ours(name, queue=name)) for _ in range(count)]
            _one_by_one(fleet[0], bench.around.stub_runs(count))  # the broker deals them out in turn
            before = sum(worker.daemon.cpu_seconds() for worker in fleet)
            taken = _one_by_one(fleet[0], bench.around.stub_runs(bench.sizes.sample))
            burnt = sum(worker.daemon.cpu_seconds() for worker in fleet) - before
            figures += _figures(_WORKERS, count, "", taken, burnt)
    return figures


def cache(bench: Bench) -> list[Figure]:
    """A cache that is fuller and fuller: runs whose input is in it, and runs whose input comes in new."""
    figures = []
    for count in bench.sizes.cached:
        folder = bench.around.folder / f"cache-{count}"
        fill(folder, count)
        with bench.ours("cache", SUBMISSION_CACHE_DIR=str(folder)) as worker:
            known = _input(bench)
            _one_by_one(worker, [bench.around.stub_run(data=known) for _ in range(2)])
            for line, urls in {
                "input cached": itertools.repeat(known, bench.sizes.sample),
                "input new": [_input(bench) for _ in range(bench.sizes.sample)],
            }.items():
                runs = [bench.around.stub_run(data=url) for url in urls]
                before = worker.daemon.cpu_seconds()
                taken = _one_by_one(worker, runs)
                figures += _figures(_CACHED, count, line, taken, worker.daemon.cpu_seconds() - before)
            _check_hits(worker, bench.sizes.sample + 1)
    return figures


def fill(folder: Path, count: int) -> None:
    """Puts so many small bundles there, each as `Shelf` would; that looks through all of them each time."""
    shelf = Shelf(folder, _GB)
    for key, data in _bundles(count):
        digest = hashlib.sha256(data).hexdigest()
        (folder / "bundles" / f"{key}.{digest}").write_bytes(data)
        record = {"version": asdict(Version(etag=f'"{key}"')), "size": len(data), "digest": digest}
        (folder / "bundles" / f"{key}.json").write_text(json.dumps(record))
    for key, data in _bundles(min(count, 1)):
        entry = shelf.find(key)
        assert entry
        assert entry.size == len(data)


def _bundles(count: int) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        data = f"bundle {number}".encode()
        yield hashlib.sha256(b"key of " + data).hexdigest(), data


def _input(bench: Bench) -> str:
    competition = bench.around.competition
    name = f"{competition.container}/{uuid4()}.zip"
    competition.store.put(name, zipped({"numbers.txt": uuid4().bytes}))
    return competition.store.url(name)


def _check_hits(worker: Contender, expected: int) -> None:
    hits = worker.daemon.log.read_text().count('"bundle from the cache"')
    assert hits == expected, f"{hits} bundles came from the cache, not {expected}"


def _one_by_one(worker: Contender, runs: Sequence[Submission]) -> list[float]:
    return [worker.site.run(worker.queue, run).ended for run in runs]


def _figures(axis: str, at: float, line: str, taken: Sequence[float], burnt: float) -> list[Figure]:
    name = f"{at:g} {axis}" + (f", {line}" if line else "")
    prefix = f"{line}: " if line else ""
    time_line, cpu_line = f"{prefix}time per run", f"{prefix}CPU per run"
    return [
        Figure(f"{name}: time per run", "s", tuple(taken), point=Point(axis, at, time_line)),
        Figure(f"{name}: CPU per run", CPU_SECONDS, (burnt / len(taken),), point=Point(axis, at, cpu_line)),
    ]
