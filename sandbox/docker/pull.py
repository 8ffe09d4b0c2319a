"""Pulling one image through the engine, with limits that hold whatever the registry does.

The engine answers 200 and reports failures within the stream, the SDK applies no time-out to a
pull, and a registry whose body stalls would hold it for ever; hence the reading and the timer here.
While anything moves (a layer's bytes, its unpacking, another try) the engine says so; it is also silent
while layers wait for other pulls, and that is no fault of the registry.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError
from docker.utils import parse_repository_tag

from sandbox.cancellation import Cancellation
from sandbox.docker.client import EngineClient
from sandbox.docker.errors import BROKEN_OFF, image_error, plain, timed_out
from sandbox.engine import PullProgress
from sandbox.errors import EngineUnreachable, RegistryUnreachable

_WAITING = "Waiting"
_COMPLETE = "Download complete"
_MADE = "Pull complete"
_AT_REST = {_COMPLETE, _MADE, "Already exists"}


@dataclass(frozen=True, slots=True)
class Pulled:
    """`fetched` is True where layers were made that the engine did not have."""

    name: str
    fetched: bool


def pull(
    client: EngineClient,
    reference: str,
    *,
    login: Mapping[str, Any],
    deadline: float,
    progress: PullProgress | None,
    cancellation: Cancellation,
    podman: bool = False,
) -> Pulled:
    """Pulls within `deadline` seconds, and returns the name by which exactly what was pulled is found.

    That is its digest; Podman, which tells none, ends with the image's id, and tells of no layers made. `client` must
    serve this pull alone; its own time-out is for how long nothing may move. Raises `ImageNotFound`, `ImageInvalid`,
    `RegistryUnreachable`, `Cancelled`, or `EngineUnreachable` where the engine went away.
    """
    pulled, fetched = None, False
    with _timer(client, deadline) as expired, cancellation.stopping(client.break_off):
        while pulled is None:
            layers = _Layers(progress)
            try:
                cancellation.check()
                pulled = _name_of(client, reference, login, layers, podman=podman)
            except APIError as error:
                raise image_error(reference, plain(error), error.status_code) from None
            except BROKEN_OFF as error:
                cancellation.check()
                if expired():
                    raise RegistryUnreachable(reference, f"the pull took longer than {deadline:g} s") from None
                if not (timed_out(error) and layers.queued):
                    raise _broken_off(reference, client.patience, error) from None
                client.break_off()
            fetched = fetched or layers.fetched
    return Pulled(pulled, fetched)


def _broken_off(reference: str, patience: float, error: Exception) -> Exception:
    if timed_out(error):
        return RegistryUnreachable(reference, f"nothing moved for {patience:g} s")
    return EngineUnreachable(f"The container engine broke off a pull: {plain(error)}")


@contextmanager
def _timer(client: EngineClient, deadline: float) -> Iterator[Callable[[], bool]]:
    """Breaks the pull off after `deadline` seconds; what it yields tells whether they have passed.

    The engine gives a pull up when nobody reads its answer any more.
    """
    ends = time.monotonic() + deadline
    timer = threading.Timer(deadline, client.break_off)
    timer.daemon = True
    timer.start()
    try:
        yield lambda: time.monotonic() >= ends
    finally:
        timer.cancel()


def _name_of(client: EngineClient, reference: str, login: Mapping[str, Any], layers: _Layers, *, podman: bool) -> str:
    """Reads the whole stream, for what the engine names at the end of what it pulled."""
    digest = image = ""
    for event in client.pull(reference, stream=True, decode=True, auth_config=dict(login)):
        if "error" in event:
            raise image_error(reference, str(event["error"]))
        status = str(event.get("status", ""))
        if status.startswith("Digest: "):
            digest = status.removeprefix("Digest: ")
        image = str(event.get("id", "")) if podman and status == _COMPLETE else ""
        layers.note(event)
    if not (digest or image):
        raise ConnectionError("its answer ended too soon")
    name, _ = parse_repository_tag(reference)
    return image or f"{parse_repository_tag(name)[0]}@{digest}"


class _Layers:
    """What the engine says of the layers of a pull; adds up their bytes."""

    def __init__(self, progress: PullProgress | None) -> None:
        self._progress = progress
        self._layers: dict[str, tuple[int, int]] = {}
        self._states: dict[str, str] = {}

    @property
    def queued(self) -> bool:
        """True where layers wait for those of other pulls, and none of this pull's own is under way."""
        states = set(self._states.values())
        return _WAITING in states and states <= {_WAITING, *_AT_REST}

    @property
    def fetched(self) -> bool:
        """True where one was made of what came: an image that was there has all its layers."""
        return _MADE in self._states.values()

    def note(self, event: Mapping[str, Any]) -> None:
        layer, detail = str(event.get("id", "")), event.get("progressDetail") or {}
        if "progressDetail" in event:  # only the lines of layers have it
            self._states[layer] = str(event.get("status"))
        if event.get("status") == "Downloading" and detail.get("total"):
            self._set(layer, int(detail.get("current", 0)), int(detail["total"]))
        elif event.get("status") == _COMPLETE and layer in self._layers:
            whole = self._layers[layer][1]
            self._set(layer, whole, whole)

    def _set(self, layer: str, had: int, whole: int) -> None:
        self._layers[layer] = (had, whole)
        if self._progress is not None:
            layers = self._layers.values()
            self._progress(sum(had for had, _ in layers), sum(whole for _, whole in layers))
