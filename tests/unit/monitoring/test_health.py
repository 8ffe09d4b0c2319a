from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from tests.support.monitored import watched
from worker.monitoring.health import Glance, Health


def test_a_worker_that_is_well_has_no_ailments_and_no_obstacles() -> None:
    health = Health(watched())
    assert (health.ailments(), health.obstacles()) == ((), ())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"links": {"intake": lambda: False, "updates": lambda: True}},
            "the broker connection for intake is down",
        ),
        ({"engine": lambda: False}, "the container engine does not answer"),
        ({"free_disk": lambda: 1 << 30}, "1 GiB are free for the temp dir, and WORKER_MIN_FREE_DISK is 5 GiB"),
    ],
)
def test_what_is_in_the_way_is_named_and_is_no_ailment(changes: dict[str, Any], sentence: str) -> None:
    health = Health(replace(watched(), **changes))
    assert health.obstacles() == (sentence,)
    assert health.ailments() == ()


def test_a_main_thread_that_hangs_is_an_ailment() -> None:
    assert Health(replace(watched(), alive=lambda: False)).ailments()


def test_the_engine_is_asked_no_more_often_than_every_few_seconds() -> None:
    answers = itertools.count(1)
    lasting, fleeting = Glance(lambda: next(answers), fresh=1000), Glance(lambda: next(answers), fresh=-1)
    assert [lasting(), lasting(), lasting()] == [1, 1, 1]
    assert [fleeting(), fleeting()] == [2, 3]
