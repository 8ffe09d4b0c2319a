"""The least that a run can take: its containers by bare engine calls, its bytes by plain GET and PUT, one by one.

The worker's own rooms stage the run and say what its containers are, unmeasured: so the floor's bodies of
`POST /containers/create` are the worker's, host option by host option, whatever they grow into.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import requests
from docker import APIClient

from protocol.codalab import parse_message_file
from protocol.run import Role
from sandbox.cancellation import Cancellation
from sandbox.docker.container_config import container_config
from sandbox.engine import ContainerSpec
from tests.bench.surroundings import Surroundings
from tests.support.competition import Submission
from worker import compose
from worker.broker.updates import CallbackSink
from worker.demo.competition import SLOTS
from worker.records import StagedRun
from worker.run_control import RunControl
from worker.stages.containers import RunContext, docker_submission_spec, organiser_specs
from worker.stages.staging import stage
from worker.tools import Tools

_DOWNLOADS = ("run.txt", "input.txt", "program.zip", "ref.zip")
_BLOB = {"x-ms-blob-type": "BlockBlob"}
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class FloorTime:
    """Seconds of its three parts."""

    gets: float
    containers: float
    puts: float

    @property
    def total(self) -> float:
        return self.gets + self.containers + self.puts


class Floor:
    """Measures the floor of submissions; use `floor` to make one. `results` are the bytes to PUT, by blob name."""

    def __init__(
        self, tools: Tools, engine: APIClient, session: requests.Session, results: Mapping[str, bytes]
    ) -> None:
        self._tools = tools
        self._engine = engine
        self._session = session
        self._results = results
        self._cpus = tools.sandbox.engine.host_facts().cpus

    def measure(self, submission: Submission) -> FloorTime:
        """Does by hand what a worker would do for that submission."""
        downloads = [submission.store.url(submission.blob(name)) for name in _DOWNLOADS]
        uploads = [(submission.task_args[slot], self._results[name]) for slot, name in SLOTS.items()]
        with self._configs(submission) as configs:
            began = time.perf_counter()
            for url in downloads:
                self._get(url)
            fetched = time.perf_counter()
            for config in configs:
                self._run(config)
            ran = time.perf_counter()
            for url, data in uploads:
                self._put(url, data)
            return FloorTime(fetched - began, ran - fetched, time.perf_counter() - ran)

    @contextmanager
    def _configs(self, submission: Submission) -> Iterator[list[dict[str, object]]]:
        """What the worker would ask the engine for, over a staged folder."""
        message = json.dumps([submission.task_id, submission.task_args])
        request = parse_message_file(message, message_id=str(uuid4())).request
        tools, run = self._tools, request.message_id
        with tools.temp_dir.run_folder(run) as folder, tools.images.kept_for(run):
            specs = self._specs(stage(request, folder, self._tools, Cancellation()))
            yield [container_config(spec, host_cpus=self._cpus) for spec in specs]

    def _specs(self, staged: StagedRun) -> list[ContainerSpec]:
        context = RunContext(self._tools, RunControl(), self._tools.journals.of(staged.request))
        assert staged.request.submission
        participant = docker_submission_spec(staged, staged.request.submission, context)
        return [participant, *organiser_specs(staged, Role.SCORING, context)]

    def _run(self, config: dict[str, object]) -> None:
        made: dict[str, Any] = self._engine.create_container_from_config(config)  # type: ignore[no-untyped-call]
        with closing(self._engine.attach_socket(made["Id"])) as output:
            self._engine.start(made["Id"])
            code = self._engine.wait(made["Id"])["StatusCode"]
            written = output.read()
        self._engine.remove_container(made["Id"], v=True, force=True)
        assert code == 0, f"the floor's container ended with exit code {code}: {written!r}"

    def _get(self, url: str) -> None:
        reply = self._session.get(url, timeout=_TIMEOUT)
        reply.raise_for_status()
        assert reply.content

    def _put(self, url: str, data: bytes) -> None:
        self._session.put(url, data=data, headers=_BLOB, timeout=_TIMEOUT).raise_for_status()


@contextmanager
def floor(around: Surroundings, rehearsal: Submission) -> Iterator[Floor]:
    """A floor with its own connections, as long as the block lasts; it stores what that run of a worker stored."""
    results = {name: rehearsal.read(name) for name in SLOTS.values()}
    settings = around.settings(WORKER_PULL_POLICY="if-not-present", SUBMISSION_TEMP_DIR=str(around.folder / "floor"))
    with (
        compose.tools(settings, CallbackSink(lambda _update: None)) as tools,
        closing(APIClient(around.parts.docker_host, version="auto")) as engine,
        requests.Session() as session,
    ):
        session.trust_env = False  # no look at proxies and .netrc for each request: the worker does none either
        yield Floor(tools, engine, session, results)
