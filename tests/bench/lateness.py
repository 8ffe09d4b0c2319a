"""By how much containers outlive their time limit; the engine tells when one started, the kernel when it was gone."""

from __future__ import annotations

from contextlib import closing

from tests.bench.figures import Figure, Target
from tests.bench.place import Bench
from tests.support.engine_events import EngineEvents
from tests.support.process_end import end_of_processes
from worker.demo import engine

OVERSHOOT = Target("<", 0.3)  # seconds
_LIMIT, _GRACE = 1, 1  # seconds
_PATIENCE = 20.0  # seconds for the witness's own thread, which may be told later than the site

# What it does, and the seconds after which it must be gone.
_PROGRAMS = {
    "heeds SIGTERM": ("sleep 60", _LIMIT),
    "ignores SIGTERM": ("trap '' TERM; while :; do sleep 60; done", _LIMIT + _GRACE),
    "floods": ("yes & yes >&2", _LIMIT),
    "floods and ignores SIGTERM": ("trap '' TERM; yes & while :; do yes >&2; done", _LIMIT + _GRACE),
}


def lateness(bench: Bench) -> list[Figure]:
    """Seconds beyond the limit (where SIGTERM is heeded), or beyond limit and grace."""
    late: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    with (
        closing(engine.connect(bench.around.parts.docker_host)) as client,
        EngineEvents(client) as events,
        bench.ours("late", WORKER_STOP_GRACE=f"{_GRACE}s") as worker,
    ):
        for _ in range(bench.sizes.late):
            for name, (script, due) in _PROGRAMS.items():
                submission = bench.around.stub_run(script, execution_time_limit=_LIMIT)
                started = events.wait(worker.site.publish(worker.queue, submission), "start")
                ended = end_of_processes(client, started.container)
                assert "time limit" in worker.site.failure(submission.task_id)
                late[name].append(ended.result(_PATIENCE) - started.time - due)
    return [Figure(f"time limit: {name}, late by", "s", tuple(found), OVERSHOOT) for name, found in late.items()]
