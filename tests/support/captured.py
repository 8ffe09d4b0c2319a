"""Messages captured from real Celery clients (tests/fixtures/celery), as a consumer is handed them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol import celery_envelope
from protocol.celery_envelope import CeleryTask

_FOLDER = Path(__file__).parents[1] / "fixtures" / "celery"


@dataclass(frozen=True, slots=True)
class Captured:
    body: bytes
    document: Any
    headers: Mapping[str, object]
    properties: Mapping[str, Any]
    exchange: str
    routing_key: str

    def decode(self) -> CeleryTask:
        return celery_envelope.decode(
            self.body,
            headers=self.headers,
            content_type=self.properties["content_type"],
            content_encoding=self.properties["content_encoding"],
        )


def names(pattern: str) -> list[str]:
    found = sorted(path.stem for path in _FOLDER.glob(f"{pattern}.json"))
    assert found, f"no fixture is called {pattern}"
    return found


def load(name: str) -> Captured:
    raw = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    body = base64.b64decode(raw["body_base64"])
    place = raw["exchange"], raw["routing_key"]
    return Captured(body, raw["body"], raw["headers"], raw["properties"], *place)


def methods(name: str) -> list[Any]:
    """The AMQP methods of a capture that is a list of them."""
    listed: list[Any] = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))["methods"]
    return listed
