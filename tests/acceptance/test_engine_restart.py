"""A container engine that is restarted under a run: waited for, the run worked anew, nobody blamed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.labels import RUN
from tests.support.competition import Competition
from tests.support.engine_events import wait_for_start
from tests.support.private_queue import PrivateQueue, gated, statuses
from worker.demo import engine, processes
from worker.demo.places import fresh_folder, run_folder
from worker.demo.processes import Child
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

BRIDGE = "codalab-again0"
SUBNET = "10.198.11.1/24"
OPTIONS = (f"--bridge={BRIDGE}", "--iptables=false", "--ip-masq=false")


class OwnEngine:
    """A Docker engine of the test's own, whose data outlive a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.host, self._child = self._start()

    def stop(self) -> None:
        """As a package upgrade does: with SIGTERM, and the containers with it."""
        processes.stop(self._child, grace=30)

    def start(self) -> None:
        self.host, self._child = self._start()

    def end(self) -> None:
        engine.stop_dockerd(self._child, self._folder, self._folder / "data")

    def _start(self) -> tuple[str, Child]:
        return engine.start_dockerd(self._folder, self._folder / "data", OPTIONS)


@contextmanager
def bridge() -> Iterator[None]:
    """An engine without one of its own would delete the docker0 of the engine beside it."""
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", SUBNET, "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "del", BRIDGE], check=True)


@pytest.fixture(scope="module")
def own_engine() -> Iterator[OwnEngine]:
    folder = fresh_folder(run_folder() / "again")
    with bridge():
        own = OwnEngine(folder)
        try:
            yield own
        finally:
            own.end()
            fresh_folder(folder).rmdir()


@pytest.fixture
def queue(private_queue: PrivateQueue, own_engine: OwnEngine) -> PrivateQueue:
    return replace(private_queue, settings={**private_queue.settings, "DOCKER_HOST": own_engine.host})


def test_a_run_outlives_a_restart_of_its_engine(
    queue: PrivateQueue, own_engine: OwnEngine, competition: Competition
) -> None:
    submission = competition.docker_submission(gated())
    with queue.worker() as daemon:
        wait_for_start(own_engine.host, RUN, queue.publish(submission))
        own_engine.stop()
        daemon.wait_for_event("waiting for the container engine to come back")
        own_engine.start()
        queue.open_gate()
        updates = queue.end_of(submission)
        assert statuses(updates) == ["running", "finished"], updates[-1].traceback
        assert submission.archive()["scores.txt"] == b"correct: 1\n"
        assert daemon.events("the run is worked anew; its container engine was restarted")
        assert daemon.stop() == ExitCode.OK
    assert list((daemon.temp_dir / "runs").iterdir()) == []
    with closing(engine.connect(own_engine.host)) as client:
        assert client.containers.list(all=True, ignore_removed=True) == []


def test_a_container_that_ended_with_its_engine_while_no_worker_watched_is_nobodys_fault(
    queue: PrivateQueue, own_engine: OwnEngine, competition: Competition
) -> None:
    """It traps SIGTERM and ends with exit code 0, as if it had done its work."""
    submission = competition.docker_submission(f"trap 'exit 0' TERM; {gated()}")
    with queue.worker() as killed:
        wait_for_start(own_engine.host, RUN, queue.publish(submission))
        killed.process.kill()
        killed.process.wait()
        own_engine.stop()
        own_engine.start()
        with queue.starting_worker() as daemon:
            daemon.wait_for_event("the run is worked anew; its container engine was restarted")
            queue.open_gate()
            updates = queue.end_of(submission)
            assert statuses(updates) == ["running", "finished"], updates[-1].traceback
            assert submission.archive()["scores.txt"] == b"correct: 1\n"
            assert daemon.stop() == ExitCode.OK
