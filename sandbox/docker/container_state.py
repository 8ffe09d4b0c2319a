"""How a container stands, out of the `State` of its inspection; pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sandbox.docker.errors import without_queries
from sandbox.engine import ContainerState

KILLED = 137
"""The exit code after SIGKILL."""


def container_state(state: Mapping[str, Any]) -> ContainerState:
    """As the engine tells it."""
    return ContainerState(
        running=bool(state["Running"]),
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        started_at=_epoch(state["StartedAt"]),
        finished_at=_epoch(state["FinishedAt"]),
        error=without_queries(str(state.get("Error", ""))),
    )


def _epoch(text: str) -> float | None:
    """Seconds since 1970 of the engine's RFC 3339 time; None for its zero time, the year 1."""
    moment = datetime.fromisoformat(text)
    return moment.timestamp() if moment.year > 1 else None
