import json
from dataclasses import asdict

import pytest

from worker.demo.parts import Parts
from worker.demo.processes import Child
from worker.demo.service import Service

PARTS = Parts("amqp://a:b@127.0.0.1:1/%2F", "http://a:b@127.0.0.1:2", "unix:///x", "http://127.0.0.1:3/d", "h:4")


def test_parts_travel_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_PARTS", PARTS.to_json())
    assert Parts.from_environment() == PARTS


def test_a_service_travels_through_the_state_file() -> None:
    child = Child("rabbitmq", 12, 34.5, "rabbitmq.log")
    service = Service("rabbitmq", {"broker_url": PARTS.broker_url}, (child,), {"folder": "here"})
    assert Service.from_json(json.loads(json.dumps(asdict(service)))) == service
