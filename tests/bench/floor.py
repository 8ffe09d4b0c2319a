"""The least that a run can take: its containers by bare engine calls, its bytes by plain GET and PUT, one by one.

The worker's own rooms stage the run and say what its containers are, unmeasured: so the floor's bodies of
`POST /containers/create` are the worker's, host option by host option, whatever they grow into.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
from docker import APIClient

from protocol.codalab import parse_message_file
from protocol.run import Role
from sandbox.cancellation import Cancellation
from sandbox.docker.attach import DockerAttachment
from sandbox.docker.container_config import container_config
from sandbox.engine import ContainerSpec
from tests.bench.surroundings import Surroundings
from tests.support.competition import Submission
from worker import compose
from worker.broker.updates import CallbackSink
from worker.demo.competition import SLOTS
from worker.kept.records import StagedRun
from worker.run_control import RunControl
from worker.stages.containers import RunContext, docker_submission_spec, organiser_specs
from worker.stages.staging import stage
from worker.tools import Tools

_DOWNLOADS = ("run.txt", "input.txt", "program.zip", "ref.zip")
_BLOB = {"x-ms-blob-type": "BlockBlob"}
_TIMEOUT = 120.0
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class FloorTime:
    """Seconds of its three parts."""

    gets: float
    containers: float
    puts: float

    @property
    def total(self) -> float:
        return self.gets + self.containers + self.puts


@dataclass(frozen=True, slots=True)
class Laid:
    """A run that is staged: the folder of its output, and what the engine is to be asked for."""

    output: Path
    configs: Sequence[Mapping[str, object]]


class Floor:
    """Does by hand what a worker would do, with connections of its own; use `floor` to make one."""

    def __init__(self, tools: Tools, session: requests.Session, engines: Sequence[APIClient]) -> None:
        self._tools = tools
        self._session = session
        self._engines = engines
        self._cpus = tools.sandbox.engine.host_facts().cpus

    def measure(self, submission: Submission, results: Mapping[str, bytes]) -> FloorTime:
        """All of a small run; `results` are the bytes to PUT, by the blob's name."""
        downloads = [submission.store.url(submission.blob(name)) for name in _DOWNLOADS]
        uploads = [(submission.task_args[slot], results[name]) for slot, name in SLOTS.items()]
        with self.laid(submission) as laid:
            began = time.perf_counter()
            for url in downloads:
                self._get(url)
            fetched = time.perf_counter()
            self.run(laid)
            ran = time.perf_counter()
            for url, data in uploads:
                put(self._session, url, data)
            return FloorTime(fetched - began, ran - fetched, time.perf_counter() - ran)

    def seconds_per_run(self, laid: Laid, count: int) -> float:
        """The engine's own: the run's containers so many times, back to back, by as many hands as there are slots."""
        hands = len(self._engines)
        shares = [count // hands + (hand < count % hands) for hand in range(hands)]
        began = time.perf_counter()
        with ThreadPoolExecutor(hands) as pool:
            for done in [pool.submit(self._repeat, laid, *job) for job in enumerate(shares)]:
                done.result()
        return (time.perf_counter() - began) / count

    @contextmanager
    def laid(self, submission: Submission) -> Iterator[Laid]:
        """What the worker would ask the engine for, over a staged folder that lasts as long as the block."""
        message = json.dumps([submission.task_id, submission.task_args])
        request = parse_message_file(message, message_id=str(uuid4())).request
        tools, run = self._tools, request.message_id
        with tools.temp_dir.run_folder(run) as folder, tools.images.kept_for(run):
            specs = self._specs(stage(request, folder, tools, Cancellation()))
            yield Laid(folder.output, [container_config(spec, host_cpus=self._cpus) for spec in specs])

    def run(self, laid: Laid, hand: int = 0) -> None:
        """The run's containers, one after another."""
        for config in laid.configs:
            _run(self._engines[hand], config)

    def _repeat(self, laid: Laid, hand: int, count: int) -> None:
        for _ in range(count):
            self.run(laid, hand)

    def _specs(self, staged: StagedRun) -> list[ContainerSpec]:
        context = RunContext(self._tools, RunControl(), self._tools.journals.of(staged.request))
        assert staged.request.submission
        participant = docker_submission_spec(staged, staged.request.submission, context)
        return [participant, *organiser_specs(staged, Role.SCORING, context)]

    def _get(self, url: str) -> None:
        reply = self._session.get(url, timeout=_TIMEOUT)
        reply.raise_for_status()
        assert reply.content


def fetch(session: requests.Session, url: str, target: Path) -> None:
    """A plain streaming GET."""
    with session.get(url, timeout=_TIMEOUT, stream=True) as reply, target.open("wb") as file:
        reply.raise_for_status()
        for piece in reply.iter_content(_PIECE):
            file.write(piece)


def put(session: requests.Session, url: str, data: bytes | Path) -> None:
    """A plain PUT, streamed where it is a file."""
    with ExitStack() as stack:
        body = stack.enter_context(data.open("rb")) if isinstance(data, Path) else data
        session.put(url, data=body, headers=_BLOB, timeout=_TIMEOUT).raise_for_status()


def new_session() -> requests.Session:
    """One that looks at no proxies and no .netrc for each request: the worker does none either."""
    session = requests.Session()
    session.trust_env = False
    return session


@contextmanager
def floor(around: Surroundings, *, slots: int = 1) -> Iterator[Floor]:
    """A floor that shares the machine out among so many slots."""
    folder = around.folder / f"floor-{uuid4().hex[:8]}"
    settings = around.settings(
        WORKER_PULL_POLICY="if-not-present", SUBMISSION_TEMP_DIR=str(folder), WORKER_CONCURRENCY=str(slots)
    )
    with ExitStack() as stack:
        tools = stack.enter_context(compose.tools(settings, CallbackSink(lambda _update: None)))
        engines = [
            stack.enter_context(closing(APIClient(around.parts.docker_host, version="auto"))) for _ in range(slots)
        ]
        yield Floor(tools, stack.enter_context(new_session()), engines)


def _run(engine: APIClient, config: Mapping[str, object]) -> None:
    made: dict[str, Any] = engine.create_container_from_config(config)  # type: ignore[no-untyped-call]
    with closing(DockerAttachment(engine.attach_socket(made["Id"]))) as output:
        engine.start(made["Id"])
        code = engine.wait(made["Id"])["StatusCode"]
        written = b"".join(data for _, data in output.chunks())
    engine.remove_container(made["Id"], v=True, force=True)
    assert code == 0, f"the floor's container ended with exit code {code}: {written!r}"
