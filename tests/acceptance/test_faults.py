"""Each fault at each stage of a run: one end is told, what is right is stored, nothing is left.

A row of the table is one worker with a run at every stage at once when the fault strikes. What another test proves is
named in the table, and not repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest

from protocol.run import Role
from sandbox.labels import RUN
from tests.contract.engine_proxy import EngineProxy, engine_proxy
from tests.support.bad_store import Answer, BadStore, Fault, bad_store
from tests.support.competition import Competition
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.held_runs import HeldRuns, Stage
from tests.support.mounts import mounted_below
from tests.support.private_queue import PrivateQueue
from tests.support.worker_process import WorkerProcess
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

ONCE = Counter({Role.PARTICIPANT: 1, Role.SCORING: 1})
"""The containers that were started: each once."""
S = Stage
Cell = Counter[Role] | str

TABLE: dict[str, dict[Stage, Cell]] = {
    "the worker is killed": {
        S.TAKEN: ONCE,
        S.STAGING: "test_recovery.py::test_killed_while_staging",
        S.PARTICIPANT: "test_recovery.py::test_killed_while_the_participants_container_runs",
        S.SCORING: "test_recovery.py::test_killed_while_the_scoring_program_runs",
        S.LOGS: ONCE,
        S.ARCHIVES: "test_recovery.py::test_killed_while_results_are_stored",
        S.UNCONFIRMED: ONCE,
        S.UNACKNOWLEDGED: "test_recovery.py::test_killed_before_the_message_was_acknowledged",
    },
    "the connection to the run queue is cut": {
        **dict.fromkeys([S.TAKEN, S.STAGING, S.PARTICIPANT, S.SCORING, S.LOGS, S.ARCHIVES, S.UNCONFIRMED], ONCE),
        S.UNACKNOWLEDGED: (
            "test_connections.py::test_an_end_that_is_come_to_while_the_run_queue_is_out_of_reach_is_told_when_it_is_back"
        ),
    },
    "the connection for updates is cut": {
        **dict.fromkeys([S.TAKEN, S.STAGING, S.PARTICIPANT, S.SCORING, S.LOGS, S.ARCHIVES, S.UNCONFIRMED], ONCE),
        S.UNACKNOWLEDGED: "nothing of the run needs it any more",
    },
    "the store fails": {
        **dict.fromkeys([S.TAKEN, S.STAGING, S.PARTICIPANT, S.SCORING, S.LOGS, S.ARCHIVES, S.UNCONFIRMED], ONCE),
        S.UNACKNOWLEDGED: "nothing of the run needs it any more",
    },
    "the connections to the engine are cut": {
        **dict.fromkeys([S.TAKEN, S.STAGING, S.PARTICIPANT, S.SCORING, S.LOGS, S.ARCHIVES, S.UNCONFIRMED], ONCE),
        S.UNACKNOWLEDGED: "nothing of the run needs it any more",
    },
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault strikes."""

    queue: PrivateQueue
    runs: HeldRuns
    proxy: FaultProxy
    store: BadStore
    engine: EngineProxy

    def worker(self) -> AbstractContextManager[WorkerProcess]:
        return self.queue.starting_worker(
            BROKER_URL=self.proxy.url,
            DOCKER_HOST=self.engine.host,
            WORKER_CONCURRENCY="7",
            WORKER_CPU_LIMIT="1",
            WORKER_MEMORY_LIMIT="512m",
            WORKER_LIVE_LOGS="0",
        )


@contextmanager
def killed(scene: Scene, worker: WorkerProcess) -> Iterator[WorkerProcess]:
    worker.process.kill()
    worker.process.wait()
    scene.proxy.let_through()
    with scene.worker() as heir:
        yield heir


def _connection_cut(vhost: Callable[[Scene], str], link: str) -> Callable[..., AbstractContextManager[WorkerProcess]]:
    @contextmanager
    def cut(scene: Scene, worker: WorkerProcess) -> Iterator[WorkerProcess]:
        scene.proxy.bar(vhost(scene))
        worker.wait_for_event("no broker connection, trying again")
        scene.proxy.let_through()
        yield worker
        worker.wait_connected(link, count=2)

    return cut


@contextmanager
def store_failed(scene: Scene, worker: WorkerProcess) -> Iterator[WorkerProcess]:
    answers: Iterator[Answer] = chain([HTTPStatus.SERVICE_UNAVAILABLE, Fault.RESET] * 6, repeat(Fault.NONE))
    scene.store.otherwise = lambda: next(answers)
    scene.proxy.let_through()
    yield worker


@contextmanager
def engine_cut(scene: Scene, worker: WorkerProcess) -> Iterator[WorkerProcess]:
    assert scene.engine.reset() > 1
    scene.proxy.let_through()
    yield worker


STRIKES = {
    "the worker is killed": killed,
    "the connection to the run queue is cut": _connection_cut(lambda scene: scene.queue.owner.vhost, "intake"),
    "the connection for updates is cut": _connection_cut(lambda _: "/", "updates"),
    "the store fails": store_failed,
    "the connections to the engine are cut": engine_cut,
}


@pytest.fixture
def scene(
    private_queue: PrivateQueue, parts: Parts, competition: Competition, proxy: FaultProxy, events: EngineEvents
) -> Iterator[Scene]:
    with (
        bad_store(parts.blob_endpoint) as store,
        TemporaryDirectory(prefix="fault-") as folder,
        engine_proxy(Path(folder), parts.docker_host) as engine,
    ):
        through = Competition(competition.store, competition.container, competition.image, store.endpoint)
        runs = HeldRuns(private_queue, through, store, proxy, events)
        yield Scene(private_queue, runs, proxy, store, engine)


@pytest.mark.parametrize("fault", TABLE)
def test_a_fault_at_each_stage(scene: Scene, events: EngineEvents, client: docker.DockerClient, fault: str) -> None:
    with scene.worker() as worker:
        worker.wait_connected("intake", "updates")
        scene.runs.bring_to_their_stages()
        with STRIKES[fault](scene, worker) as heir:
            scene.runs.release(Fault.RESET if fault == "the store fails" else Fault.NONE)
            with scene.runs.scoring_let_go(heir.temp_dir):
                told = {stage: scene.queue.end_of(one, 90.0) for stage, one in scene.runs.submission.items()}
        assert heir.stop() == ExitCode.OK
    assert nothing_is_left(scene, heir, client)
    for stage, cell in TABLE[fault].items():
        if isinstance(cell, Counter):
            ends = [update for update in told[stage] if update.status != "running"]
            assert {end.status for end in ends} == {"finished"}, ends
            assert all(end == ends[0] for end in ends), "not the same words"
            assert len(ends) == 1 or stage is S.UNCONFIRMED
            assert scene.runs.submission[stage].archive()["scores.txt"] == b"correct: 1\n"
            started = Counter(Role(event.role) for event in events.of(scene.runs.message[stage], "start"))
            assert started == cell, stage


def nothing_is_left(scene: Scene, worker: WorkerProcess, client: docker.DockerClient) -> bool:
    mine = set(scene.runs.message.values())
    everyone = client.containers.list(all=True, filters={"label": RUN}, ignore_removed=True)
    return (
        scene.queue.ready() == 0
        and scene.queue.leased(worker) == 0
        and mine.isdisjoint(one.labels[RUN] for one in everyone)
        and list((worker.temp_dir / "runs").iterdir()) == []
        and mounted_below(worker.temp_dir / "runs") == []
    )


def test_the_table_is_whole_and_names_tests_that_are_there() -> None:
    assert TABLE.keys() == STRIKES.keys()
    for row in TABLE.values():
        assert row.keys() == set(Stage)
        for cell in row.values():
            if isinstance(cell, str) and "::" in cell:
                file, _, test = cell.partition("::")
                assert f"def {test}(" in (Path(__file__).parent / file).read_text(), cell
