"""The container engine that speaks Docker's API."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from docker.errors import APIError

from sandbox.cancellation import Cancellation
from sandbox.docker import engine_events
from sandbox.docker.attach import DockerAttachment
from sandbox.docker.bare_image import bare_image
from sandbox.docker.client import EngineClient, EngineTls
from sandbox.docker.container_config import container_config
from sandbox.docker.container_state import KILLED, container_state
from sandbox.docker.container_wait import wait_for_end
from sandbox.docker.credentials import log_in, registry_login
from sandbox.docker.engine_log import EngineLog
from sandbox.docker.errors import (
    create_error,
    start_error,
    tolerating,
    translated,
)
from sandbox.docker.facts import engine_report, host_facts
from sandbox.docker.image_files import obstacle
from sandbox.docker.image_lookup import find_image
from sandbox.docker.image_removal import remove_image
from sandbox.docker.kernel_log import KernelLog
from sandbox.docker.memory import memory_in_use
from sandbox.docker.own_container import found_host_paths
from sandbox.docker.pull import pull
from sandbox.docker.scratch import scratch_meter
from sandbox.engine import ContainerSpec, ContainerState, Image, PullListener, PullProgress, ScratchMeter
from sandbox.engine_facts import EngineReport, HostFacts
from sandbox.errors import EngineUnreachable
from sandbox.host_paths import HostPaths, SharedFolder

# Removing a big writable layer takes its time, and a start may wait behind others.
_TIMEOUT = 120.0
# A kill must not wait behind anything: it has connections of its own, and whoever sends it tries again.
_KILL_TIMEOUT = 3.0
_PULL_PATIENCE = 120.0
_LOGIN_PATIENCE = 15.0
# Somebody looks at a page meanwhile.
_GLANCE_TIMEOUT = 3.0
# Podman's word (status 500) for a container that runs no more, where Docker answers 409.
_ENDED = "container state improper"


class DockerEngine:
    """A `sandbox.engine.ContainerEngine`; its calls may be made from any thread.

    `host` is as in DOCKER_HOST (`unix://…`, `tcp://…`). `registry_auth` is a `config.json` of the Docker
    client, read at each pull; None or a missing file means no credentials. A pull in which nothing moves
    for `pull_patience` seconds is given up; `on_pulled` is told of the end of each. In a container of that same engine
    the folders shared with its host are found by inspection; `shared` are known besides, and win.
    Raises `EngineUnreachable`.
    """

    def __init__(
        self,
        host: str,
        *,
        tls: EngineTls | None = None,
        registry_auth: Path | None = None,
        pull_patience: float = _PULL_PATIENCE,
        shared: Sequence[SharedFolder] = (),
        on_pulled: PullListener = lambda _seconds, _ok: None,
    ) -> None:
        self._host = host
        self._tls = tls
        self._registry_auth = registry_auth
        self._pull_patience = pull_patience
        self._on_pulled = on_pulled
        self._open = ExitStack()
        self._version: str | None = None
        self._api = self._open.enter_context(self._client(_TIMEOUT))
        self._version = self._api.api_version
        self._kills = self._open.enter_context(self._client(_KILL_TIMEOUT))
        self._host_paths = HostPaths((*shared, *found_host_paths(self._api).shared))

    def close(self) -> None:
        """Lets go of idle connections."""
        self._open.close()

    def ping(self) -> None:
        """Raises `EngineUnreachable` where it does not answer within a few seconds."""
        with translated("asking whether it is there"):
            self._glances.ping()

    @property
    def host_paths(self) -> HostPaths:
        """Where what this process sees lies on the engine's host."""
        return self._host_paths

    def host_facts(self) -> HostFacts:
        """What the engine says of itself and its host."""
        with translated("asking for its facts"):
            self._facts = host_facts(self._api.info(), self._api.version())
        return self._facts

    def report(self) -> EngineReport:
        """What it says of itself, for an operator to read."""
        with translated("asking for its facts"):
            info = self._api.info()
        return engine_report(info, self._version or "")

    @cached_property
    def _glances(self) -> EngineClient:
        """Connections for those who look on; most workers have nobody who does."""
        return self._open.enter_context(self._client(_GLANCE_TIMEOUT))

    @cached_property
    def _kernel_log(self) -> KernelLog:
        return self._open.enter_context(closing(KernelLog()))

    @cached_property
    def _facts(self) -> HostFacts:
        return self.host_facts()

    def find_image(self, reference: str) -> Image | None:
        """The image under that reference or id, if the engine holds it. Raises `ImageInvalid`."""
        return find_image(self._api, reference)

    def pull(
        self,
        reference: str,
        *,
        deadline: float,
        progress: PullProgress | None = None,
        cancellation: Cancellation | None = None,
    ) -> Image:
        """Fetches the image anew, within `deadline` seconds, through a connection of its own."""
        began, image = time.monotonic(), None
        try:
            image = self._pulled(reference, deadline, progress, cancellation or Cancellation())
        finally:
            self._on_pulled(time.monotonic() - began, image is not None)
        return image

    def _pulled(
        self, reference: str, deadline: float, progress: PullProgress | None, cancellation: Cancellation
    ) -> Image:
        login = registry_login(reference, self._registry_auth)
        with self._client(min(deadline, self._pull_patience)) as client:
            pulled = pull(
                client,
                reference,
                login=login,
                deadline=deadline,
                progress=progress,
                cancellation=cancellation,
                podman=self._facts.podman,
            )
        image = find_image(self._api, pulled.name)
        if image is None:
            raise EngineUnreachable(f"The container engine lost {reference} right after its pull.")
        return Image(image.id, reference, pulled.fetched)

    def log_in(self, registry: str) -> bool:
        """Shows the registry the credentials that are kept for it; False where there are none.

        Raises `LoginRefused`, `RegistryUnreachable` where it cannot be asked, or `EngineRefused`: the file is broken.
        """
        return log_in(partial(self._client, _LOGIN_PATIENCE), registry, self._registry_auth)

    def remove_image(self, image: str, names: Collection[str]) -> bool:
        """Removes it by each of its names, never by force."""
        with translated("removing an image"):
            return remove_image(self._api, image, names)

    def empty_image(self, *, program: bytes | None = None) -> AbstractContextManager[Image]:
        """An image without any file but `program` at /program, that is gone after the block."""
        return bare_image(self._api, program)

    def create(self, spec: ContainerSpec) -> str:
        """Makes the container, not started, and returns its id."""
        if self._facts.podman:  # it has no log of the kind that is read again after a restart
            spec = replace(spec, profile=replace(spec.profile, log_size=0))
        config = container_config(spec, host_cpus=self._facts.cpus, host_paths=self._host_paths)
        with translated("making a container", partial(create_error, spec.image)):
            made = self._api.create_container_from_config(config, spec.name)  # type: ignore[no-untyped-call]
            return str(made["Id"])

    def obstacle(self, container: str) -> str:
        """The file of an image that would hold up its start for ever; empty where there is none."""
        with translated("looking into a container"):
            return obstacle(self._api, container)

    def scratch_meter(self, container: str) -> ScratchMeter:
        """What tells how much it has written to its writable layer and to the image's own volumes."""
        return scratch_meter(self._api, self._inspected(container))

    def attach(self, container: str) -> DockerAttachment:
        """Its output; must be called before `start`."""
        with translated("attaching to a container"):
            return DockerAttachment(self._api.attach_socket(container))

    def follow(self, container: str) -> EngineLog:
        """Its output as the engine has kept it, and what comes."""
        with translated("reading a container's log"):
            return EngineLog(self._api.follow(container))

    def was_up_at(self, moment: float) -> bool | None:
        """Its memory of events tells: it ends with the engine's process, and holds the last few hundred."""
        return engine_events.was_up_at(self._api, moment)

    def was_killed(self, container: str) -> bool:
        """Whether a signal was sent to it from outside, which the engine notes of itself, too, when it shuts down."""
        return engine_events.was_killed(self._api, container)

    def was_crowded(self, container: str) -> bool:
        """What the kernel's log says, where it is that of the engine's host, and this process may read it."""
        return self._kernel_log.refused(container)

    def start(self, container: str) -> None:
        """Starts it."""

        def tell(error: APIError) -> Exception:
            return start_error(error, wants_gpu=bool(self._inspected(container)["HostConfig"].get("DeviceRequests")))

        with translated("starting a container", tell):
            self._api.start(container)

    def wait(self, container: str, *, timeout: float | None) -> None:
        """Returns when it has ended; raises `EngineUnreachable` when `timeout` seconds pass first."""
        wait_for_end(self._api, container, timeout)

    def inspect(self, container: str) -> ContainerState:
        """How it is now."""
        state = container_state(self._inspected(container)["State"])
        if state.exit_code != KILLED or state.oom_killed:
            return state
        # The flag is not there where the engine heard of the end before it heard of its reason; the event is.
        return replace(state, oom_killed=engine_events.was_out_of_memory(self._api, container, state.started_at))

    def memory(self, container: str) -> int:
        """Bytes in use, as `docker stats` reckons them; 0 unless it runs."""
        return memory_in_use(self._glances, container)

    def signal(self, container: str, name: str) -> None:
        """Sends it a signal, within a few seconds and past all other calls; no error where it has ended."""
        with translated("sending a signal"), tolerating(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, words=_ENDED):
            self._kills.kill(container, name)

    def remove(self, container: str) -> None:
        """Ends it by force if need be, and removes it with its volumes; no error where it is gone."""
        with translated("removing a container"), tolerating(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            self._api.remove_container(container, force=True, v=True)

    def find_containers(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Ids of all containers, running or not, that carry all of these labels."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with translated("looking for containers"):
            found = self._api.containers(all=True, filters={"label": wanted})
        return tuple(str(container["Id"]) for container in found)

    def _inspected(self, container: str) -> dict[str, Any]:
        with translated("inspecting a container"):
            return dict(self._api.inspect_container(container))

    def _client(self, timeout: float) -> EngineClient:
        with translated("connecting to it"):
            return EngineClient(self._host, tls=self._tls, timeout=timeout, version=self._version)
