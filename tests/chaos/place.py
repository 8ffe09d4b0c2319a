"""What chaos breaks: a broker and an engine of its own, a store in front of the real one, a competition."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.chaos.engine import RestartedEngine, restarted_engine
from tests.support.bad_store import BadStore, bad_store
from tests.support.competition import Competition
from tests.support.own_broker import OwnBroker, own_broker
from tests.support.rabbit import Management, Owner
from tests.support.run_queue import RunQueue
from worker.demo import engine, images
from worker.demo.blobs import BlobStore
from worker.demo.parts import Parts

QUEUE = "compute-worker"
UPDATES = "submission-updates"


@dataclass(frozen=True, slots=True)
class Place:
    """`engine` is None where the shared one is used, which nobody may restart."""

    broker: OwnBroker
    management: Management
    owner: Owner
    store: BadStore
    competition: Competition
    docker_host: str
    engine: RestartedEngine | None
    folder: Path

    @property
    def runs(self) -> RunQueue:
        return RunQueue(self.owner, QUEUE)

    @contextmanager
    def channel(self, vhost: str) -> Iterator[BlockingChannel]:
        """To look, as the administrator."""
        parameters = pika.URLParameters(self.broker.url)
        parameters.virtual_host = vhost
        with closing(pika.BlockingConnection(parameters)) as connection:
            yield connection.channel()

    def messages_left(self) -> int:
        """In the queues of runs, leases and retries."""
        found = self.management.get(f"queues/{self.owner.vhost}")
        assert isinstance(found, list)
        names = [name for queue in found if (name := str(queue["name"])).startswith(QUEUE)]
        with self.channel(self.owner.vhost) as channel:
            return sum(channel.queue_declare(name, passive=True).method.message_count for name in names)


@contextmanager
def place(parts: Parts, *, own: bool) -> Iterator[Place]:
    """Makes it, the engine its `own`, too, and leaves nothing of it behind."""
    with tempfile.TemporaryDirectory(prefix="codalab-chaos-") as name, own_broker(Path(name) / "rabbit") as broker:
        _declare(broker.url)
        management = Management(broker.api, broker.url)
        engines = restarted_engine() if own else nullcontext()
        with (
            engines as restarted,
            management.owner() as owner,
            _furnished(parts, broker, management, owner, restarted) as furnished,
        ):
            yield furnished


@contextmanager
def _furnished(
    parts: Parts,
    broker: OwnBroker,
    management: Management,
    owner: Owner,
    restarted: RestartedEngine | None,
) -> Iterator[Place]:
    blobs, container = BlobStore(parts.blob_endpoint), f"chaos-{uuid4().hex[:8]}"
    host = restarted.host if restarted else parts.docker_host
    with closing(engine.connect(host)) as client:
        image = images.push_base(client, parts.registry)
    blobs.make_container(container)
    RunQueue(owner, QUEUE).declare()
    try:
        with bad_store(parts.blob_endpoint) as store:
            competition = Competition(blobs, container, image, store.endpoint)
            with tempfile.TemporaryDirectory(prefix="codalab-chaos-") as folder:
                yield Place(broker, management, owner, store, competition, host, restarted, Path(folder))
    finally:
        blobs.delete_container(container)


def _declare(url: str) -> None:
    """As the site does before it publishes."""
    assert urlsplit(url).path == "/%2F"
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.exchange_declare(UPDATES, "direct", durable=True)
        channel.queue_declare(UPDATES, durable=True)
        channel.queue_bind(UPDATES, UPDATES, UPDATES)
