"""A real Celery client, as a site's pages and operators use it to look at workers and to tell them what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

_PATIENCE = 30.0  # seconds for an answer; none is waited for longer than it takes


class CeleryClient:
    """Of one virtual host."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("operator", broker=broker_url, set_as_current=False)

    def ask(self, node: str, method: str, **arguments: Any) -> Any:
        """That node's answer."""
        answers = self._app.control.broadcast(
            method, arguments=arguments, destination=[node], reply=True, timeout=_PATIENCE, limit=1
        )
        ((who, answer),) = answers[0].items()
        assert who == node
        return answer

    def inspect(self, *nodes: str) -> Any:
        """Celery's own way to ask those nodes."""
        return self._app.control.inspect(destination=list(nodes), timeout=_PATIENCE, limit=len(nodes))

    def ping_all(self, seconds: float) -> dict[str, Any]:
        """Every node that answers within that time."""
        return {node: answer for one in self._app.control.ping(timeout=seconds) for node, answer in one.items()}

    def revoke(self, message_id: str | list[str], *, terminate: bool = False) -> None:
        """As a site does it: to everybody, and no answer is wanted."""
        self._app.control.revoke(message_id, terminate=terminate)

    def shut_down(self, *nodes: str) -> None:
        self._app.control.shutdown(destination=list(nodes) or None)

    def close(self) -> None:
        self._app.close()


@contextmanager
def celery_client(broker_url: str) -> Iterator[CeleryClient]:
    client = CeleryClient(broker_url)
    try:
        yield client
    finally:
        client.close()
