"""Deliveries and runs in hand, made up."""

from __future__ import annotations

from typing import Any

from worker.broker.delivery import Delivery
from worker.observers import RunInWork
from worker.run_control import RunControl
from worker.runs.in_hand import Held


def delivery(hold: str, *, redelivered: bool = False, **more: Any) -> Delivery:
    return Delivery(hold, redelivered, b"", **more)


def held(message_id: str, one: Delivery) -> Held:
    run = RunInWork(message_id, submission_id=7, attempt=1, taken_at=0.0, time_limit=10.0)
    return Held(one, RunControl(), run)
