"""What the engine's figures say of a container's memory."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import tolerating, translated

_CACHE = ("total_inactive_file", "inactive_file")
"""Of cgroup v1 and v2, as the Docker client reckons: page cache that the kernel takes back when it likes."""


def memory_in_use(api: EngineClient, container: str) -> int:
    """Bytes in use, as `docker stats` reckons them; 0 unless it runs."""
    stats: Mapping[str, Any] = {}
    with translated("measuring a container"), tolerating(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
        stats = api.stats(container, stream=False, one_shot=True)
    return _reckoned(stats)


def _reckoned(stats: Mapping[str, Any]) -> int:
    """Of one that has ended the engine tells nothing."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    cache = next((int(details[name]) for name in _CACHE if name in details), 0)
    return max(0, int(memory.get("usage", 0)) - cache)
