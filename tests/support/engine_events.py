"""What the container engine itself says of containers, by its own clock: the witness from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker

from protocol.run import Role
from sandbox.labels import FOLDER, ROLE, RUN, WORKER

_NANO = 1e-9
_PATIENCE = 60.0  # seconds for what an engine does at once on a machine that is not busy


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One event: `action` is the engine's word (create, start, kill, die, destroy), `time` epoch seconds."""

    action: str
    time: float
    container: str
    attributes: Mapping[str, str]

    @property
    def role(self) -> str:
        return self.attributes[ROLE]

    @property
    def signal(self) -> int:
        """Of a kill."""
        return int(self.attributes["signal"])


class EngineEvents:
    """Collects the events of workers' containers while its block lasts, from now or from `since` (epoch seconds)."""

    def __init__(self, client: docker.DockerClient, since: float | None = None) -> None:
        wanted = {"type": "container", "label": WORKER}
        self._stream = client.api.events(since=since or time.time(), decode=True, filters=wanted)  # type: ignore[call-overload] # a fraction is fine
        self._changed = threading.Condition()
        self._seen: list[EngineEvent] = []
        self._thread = threading.Thread(target=self._read, name="engine-events")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._thread.join()
        let_go(self._stream)

    def start_below(self, temp_dir: Path) -> EngineEvent:
        """The first start of a container whose run has its folder there: for runs whose message id nobody was told."""

        def starts() -> list[EngineEvent]:
            here = {folder.name for folder in temp_dir.glob("**/runs/*")}
            return [event for event in self._seen if event.action == "start" and event.attributes[FOLDER] in here]

        self._wait_for(lambda: bool(starts()), _PATIENCE, f"a start of a run below {temp_dir}")
        return starts()[0]

    def of(self, run: str, action: str | None = None, role: Role | None = None) -> list[EngineEvent]:
        """What has been seen of that run (its message id), in order."""
        with self._changed:
            return [
                event
                for event in self._seen
                if event.attributes[RUN] == run and action in {None, event.action} and role in {None, event.role}
            ]

    def wait(
        self, run: str, action: str, role: Role = Role.PARTICIPANT, *, count: int = 1, timeout: float = _PATIENCE
    ) -> EngineEvent:
        """The `count`th such event of that run."""
        self._wait_for(
            lambda: len(self.of(run, action, role)) >= count, timeout, f"{count}. {action} of {run}'s {role}"
        )
        return self.of(run, action, role)[count - 1]

    def _wait_for(self, true: Callable[[], bool], timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(true, timeout):
                seen = [(event.action, event.role, event.attributes[RUN]) for event in self._seen[-10:]]
                raise TimeoutError(f"not seen within {timeout} s: {what}; seen last: {seen}")

    def _read(self) -> None:
        for event in self._stream:
            with self._changed:
                self._seen.append(_event(event))
                self._changed.notify_all()


def wait_for_start(host: str, label: str, value: str) -> None:
    """Returns once a container with that label has started on that engine, also where that was before the call."""
    wanted = {"type": "container", "event": "start", "label": f"{label}={value}"}
    with closing(docker.APIClient(host, version="auto", timeout=60)) as client:
        stream = client.events(since=1, decode=True, filters=wanted)
        next(iter(stream))
        let_go(stream)


def let_go(stream: Any) -> None:
    """The SDK's own `close` wakes whoever reads, and leaves the connection to the garbage collector."""
    stream._response.close()


def _event(raw: Mapping[str, Any]) -> EngineEvent:
    actor = raw["Actor"]
    return EngineEvent(
        raw["Action"], raw["timeNano"] * _NANO, actor["ID"], {RUN: "", ROLE: "", FOLDER: "", **actor["Attributes"]}
    )
