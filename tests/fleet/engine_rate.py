"""The engine's own rate: a run's container by bare calls, from as many clients at once as there are workers.

The worker's own rooms stage the run and say what its container is, unmeasured, as the floor of `make bench` does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from docker import APIClient

from config.settings import Settings
from protocol.codalab import parse_message_file
from protocol.run import Role
from sandbox.cancellation import Cancellation
from sandbox.docker.attach import DockerAttachment
from sandbox.docker.container_config import container_config
from tests.fleet.hosts import settings
from tests.fleet.place import Place
from tests.support.competition import Submission
from worker import compose
from worker.broker.updates import CallbackSink
from worker.run_control import RunControl
from worker.stages.containers import RunContext, organiser_specs
from worker.stages.staging import stage


class EngineRate:
    """Runs that container again and again, by these clients side by side; use `engine_rate` to make one."""

    def __init__(self, config: dict[str, object], clients: Sequence[APIClient]) -> None:
        self._config = config
        self._clients = clients
        self._idle: SimpleQueue[APIClient] = SimpleQueue()
        for client in clients:
            self._idle.put(client)

    def measure(self, containers: int) -> float:
        """Containers a minute, over that many of them."""
        with ThreadPoolExecutor(len(self._clients)) as pool:
            list(pool.map(self._run, range(len(self._clients))))  # everybody has a connection now
            began = time.perf_counter()
            list(pool.map(self._run, range(containers)))
            return 60 * containers / (time.perf_counter() - began)

    def _run(self, _number: int) -> None:
        engine = self._idle.get()
        made: dict[str, Any] = engine.create_container_from_config(self._config)  # type: ignore[no-untyped-call]
        with closing(DockerAttachment(engine.attach_socket(made["Id"]))) as output:
            engine.start(made["Id"])
            list(output.chunks())
            code = engine.wait(made["Id"])["StatusCode"]
        engine.remove_container(made["Id"], v=True, force=True)
        self._idle.put(engine)
        assert code == 0, f"a bare container ended with exit code {code}"


@contextmanager
def engine_rate(place: Place, submission: Submission) -> Iterator[EngineRate]:
    """For the container of that run, as long as the block lasts."""
    own = {**settings(place), "SUBMISSION_TEMP_DIR": str(place.folder / "bare")}
    read = Settings.model_validate({name.lower(): value for name, value in own.items()})
    message = json.dumps([submission.task_id, submission.task_args])
    request = parse_message_file(message, message_id=str(uuid4())).request
    with (
        compose.tools(read, CallbackSink(lambda _update: None)) as tools,
        tools.temp_dir.run_folder(request.message_id) as folder,
        tools.images.kept_for(request.message_id),
    ):
        context = RunContext(tools, RunControl(), tools.journals.of(request))
        (spec,) = organiser_specs(stage(request, folder, tools, Cancellation()), Role.SCORING, context)
        config = container_config(spec, host_cpus=tools.sandbox.engine.host_facts().cpus)
        with ExitStack() as stack:
            clients = [stack.enter_context(closing(_client(place))) for _host in place.network.hosts]
            yield EngineRate(config, clients)


def _client(place: Place) -> APIClient:
    return APIClient(place.docker_host, version="auto")
