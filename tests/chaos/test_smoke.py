"""A small chaos of ten runs, so that `make chaos` works whenever somebody wants the great one."""

from __future__ import annotations

import pytest

from tests.chaos.campaign import Plan, wreak
from tests.chaos.place import place
from worker.demo.parts import Parts

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


def test_ten_runs_survive_what_happens_to_their_workers() -> None:
    plan = Plan(seed=5, runs=10, workers=2, minutes=2.5, pause=1.0, ttl=8.0, rare=False)
    with place(Parts.from_environment(), own=False) as there:
        figures, bad = wreak(plan, there)
    assert figures.good, f"{figures.table()}\n{bad}"
    assert sum(figures.faults.values()) > 0
