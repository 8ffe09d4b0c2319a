"""The engine's client is shared by all threads of the worker: none may be handed another's answer."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from docker import APIClient

from sandbox.docker.client import EngineClient


class Overtaken(EngineClient):
    """Another thread's answer comes in at the worst moment: between the request and the return."""

    @property
    def _latest(self) -> requests.Response | None:
        return None

    @_latest.setter
    def _latest(self, answer: requests.Response | None) -> None:
        """Forgotten: the other's came after it."""


def test_every_thread_gets_the_answer_to_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    own = requests.Response()

    def send(_client: APIClient, _request: requests.PreparedRequest, **_: Any) -> requests.Response:
        return own

    monkeypatch.setattr(requests.Session, "send", send)
    client = Overtaken("unix:///nowhere", tls=None, timeout=1, version="1.41")
    assert client.send(requests.PreparedRequest()) is own
    client.close()
