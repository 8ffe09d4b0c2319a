"""What tests against the real parts begin with; their conftests take these fixtures in by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import docker
import pytest

from tests.support.bad_store import BadStore, bad_store
from tests.support.competition import Competition
from tests.support.discretion import check_text
from tests.support.hostile_archives import opened
from tests.support.rabbit import Management, Owner
from tests.support.site import Site
from worker.demo import engine, images
from worker.demo.blobs import BlobStore
from worker.demo.competition import SLOTS
from worker.demo.parts import Parts


@pytest.fixture(scope="session")
def parts() -> Parts:
    return Parts.from_environment()


@pytest.fixture(scope="session")
def client(parts: Parts) -> Iterator[docker.DockerClient]:
    with closing(engine.connect(parts.docker_host)) as client:
        yield client


@pytest.fixture(scope="session")
def management(parts: Parts) -> Management:
    return Management(parts.broker_api, parts.broker_url)


@pytest.fixture(scope="session")
def owner(management: Management) -> Iterator[Owner]:
    with management.owner() as owner:
        yield owner


@pytest.fixture(scope="session")
def site(parts: Parts) -> Iterator[Site]:
    site = Site(parts.broker_url, f"submission-updates.{uuid4().hex[:8]}")  # sessions side by side do not meet
    with site.consuming():
        yield site


@pytest.fixture(scope="session")
def competition(parts: Parts, client: docker.DockerClient) -> Iterator[Competition]:
    store, container = BlobStore(parts.blob_endpoint), f"acceptance-{uuid4().hex[:8]}"
    store.make_container(container)
    yield Competition(store, container, images.push_base(client, parts.registry))
    for blob in store.list(container):
        if blob.rpartition("/")[2] in SLOTS.values():  # what workers stored, in whichever test
            for where, data in opened(blob, store.get(blob)):
                check_text(where, data)
    store.delete_container(container)


@pytest.fixture(scope="session")
def settings(parts: Parts, owner: Owner, site: Site) -> dict[str, str]:
    """What the operator of a queue's worker sets."""
    return {
        "BROKER_URL": owner.broker_url,
        "WORKER_UPDATES_QUEUE": site.updates_queue,
        "DOCKER_HOST": parts.docker_host,
        "WORKER_STOP_GRACE": "1s",
    }


@pytest.fixture(scope="module")
def store(parts: Parts) -> Iterator[BadStore]:
    """Between the worker and the real store; it counts, and misbehaves as it is told."""
    with bad_store(parts.blob_endpoint) as store:
        yield store


@pytest.fixture(scope="module")
def contest(competition: Competition, store: BadStore) -> Competition:
    """Like any other, but for the address of its store."""
    return Competition(competition.store, competition.container, competition.image, store.endpoint)
