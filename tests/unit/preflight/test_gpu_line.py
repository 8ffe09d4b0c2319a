"""What `check` says of GPUs that are there, but not for as many runs as are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from config.settings import Settings
from sandbox.testing import FakeEngine
from worker import compose_engine
from worker.preflight.engine import look_at_gpus
from worker.preflight.lines import State


@pytest.mark.parametrize(
    ("settings", "state", "words"),
    [
        ({}, State.OK, "got 0, 1"),
        ({"worker_concurrency": 2, "worker_gpus_per_run": 1}, State.OK, "got 0, 1"),
        ({"worker_concurrency": 2}, State.WARNING, "enough for 1 run at a time"),
        ({"worker_concurrency": 4, "worker_gpus_per_run": 1}, State.WARNING, "enough for 2 runs at a time"),
    ],
)
def test_gpus_are_held_against_the_runs_at_a_time(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], state: State, words: str
) -> None:
    class Engine(FakeEngine):
        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(compose_engine, "docker_engine", lambda _: Engine(gpus=True))
    (line,) = look_at_gpus(Settings(use_gpu=True, worker_gpus=("0", "1"), **settings))
    assert line.state is state
    assert words in line.found
