"""What the engine's figures say of a container's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CACHE = ("total_inactive_file", "inactive_file")
"""Of cgroup v1 and v2, as the Docker client reckons: page cache that the kernel takes back when it likes."""


def memory_in_use(stats: Mapping[str, Any]) -> int:
    """Bytes, out of one answer of `/containers/ID/stats`; 0 where it holds none, as of one that has ended."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    cache = next((int(details[name]) for name in _CACHE if name in details), 0)
    return max(0, int(memory.get("usage", 0)) - cache)
