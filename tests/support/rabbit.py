"""Vhosts and accounts by RabbitMQ's management API, as a CodaLab site makes them for a queue's owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit
from uuid import uuid4

import requests

_PATIENCE = 60.0  # seconds for one answer


@dataclass(frozen=True)
class Owner:
    """A queue owner's account: everything in the own vhost, updates only in the site's (protocol-facts.md 3)."""

    broker_url: str
    vhost: str


class Management:
    def __init__(self, api: str, broker_url: str) -> None:
        self._api = api
        self._broker = urlsplit(broker_url)

    def put(self, path: str, body: dict[str, object] | None = None) -> None:
        requests.put(f"{self._api}/api/{path}", json=body or {}, timeout=_PATIENCE).raise_for_status()

    def get(self, path: str) -> object:
        reply = requests.get(f"{self._api}/api/{path}", timeout=_PATIENCE)
        reply.raise_for_status()
        return reply.json()

    def delete(self, path: str) -> None:
        requests.delete(f"{self._api}/api/{path}", timeout=_PATIENCE)

    def admin_url(self, vhost: str) -> str:
        """To look into that vhost without being one of its owner's connections."""
        return f"{self._broker.scheme}://{self._broker.netloc}/{vhost}"

    @contextmanager
    def owner(self) -> Iterator[Owner]:
        name, password, vhost = f"owner-{uuid4().hex[:8]}", uuid4().hex, str(uuid4())
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        updates = {"configure": ".*", "write": ".*submission-updates.*", "read": ".*submission-updates.*"}
        self.put(f"vhosts/{vhost}")
        self.put(f"users/{name}", {"password": password, "tags": ""})
        self.put(f"permissions/{quote('/', safe='')}/{name}", dict(updates))
        self.put(f"permissions/{vhost}/{name}", dict(everything))
        admin = self._broker.username or "guest"
        self.put(f"permissions/{vhost}/{quote(admin, safe='')}", dict(everything))
        address = f"{self._broker.hostname}:{self._broker.port}"
        try:
            yield Owner(f"pyamqp://{name}:{password}@{address}/{vhost}", vhost)
        finally:
            self.delete(f"users/{name}")
            self.delete(f"vhosts/{vhost}")
