from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandbox.labels import WORKER
from tests.support.competition import Submission
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.fixtures import client, competition, contest, management, owner, parts, settings, site, store
from tests.support.private_queue import PrivateQueue
from tests.support.rabbit import Management, Owner
from tests.support.s3 import S3Store, s3_server
from tests.support.site import Site, Update
from tests.support.worker_process import WorkerProcess, worker
from worker.kept.folders import identity

__all__ = [  # fixtures taken in
    "client",
    "competition",
    "contest",
    "management",
    "owner",
    "parts",
    "settings",
    "site",
    "store",
]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with s3_server(tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture(scope="session")
def shared_worker(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory, client: docker.DockerClient
) -> Iterator[WorkerProcess]:
    """One daemon for all tests that leave it in one piece."""
    with worker(settings, tmp_path_factory.mktemp("worker")) as running:
        yield running
        assert running.stop() == 0
    label = f"{WORKER}={identity(running.temp_dir, client.info()['Name'])}"
    assert client.containers.list(all=True, ignore_removed=True, filters={"label": label}) == []
    assert list((running.temp_dir / "runs").iterdir()) == []


class Runner:
    """Publishes submissions on the owner's vhost, and gives back what the site was told of each."""

    def __init__(self, site: Site, owner: Owner, worker: WorkerProcess) -> None:
        self.site = site
        self.owner = owner
        self.worker = worker

    def publish(self, submission: Submission) -> str:
        """Returns the message's id, which the run's containers carry."""
        return self.site.publish_run(submission.task_id, submission.task_args, vhost=self.owner.vhost)

    def __call__(self, submission: Submission, timeout: float = 60.0) -> list[Update]:
        self.publish(submission)
        return self.site.updates_until_end(submission.task_id, timeout)


@pytest.fixture
def run(site: Site, owner: Owner, shared_worker: WorkerProcess) -> Runner:
    return Runner(site, owner, shared_worker)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "own-worker"


@pytest.fixture(scope="session")
def events(client: docker.DockerClient) -> Iterator[EngineEvents]:
    with EngineEvents(client) as events:
        yield events


@pytest.fixture
def private_queue(
    management: Management, site: Site, settings: dict[str, str], tmp_path: Path
) -> Iterator[PrivateQueue]:
    """For tests whose daemons are their own: stopped, killed, or set otherwise."""
    with management.owner() as owner:
        yield PrivateQueue(site, owner, {**settings, "BROKER_URL": owner.broker_url}, tmp_path)


@pytest.fixture
def proxy(private_queue: PrivateQueue) -> Iterator[FaultProxy]:
    """What lies between the broker and a daemon that is given its URL."""
    with FaultProxy(private_queue.owner.broker_url) as proxy:
        yield proxy
