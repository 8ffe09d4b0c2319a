"""Where a fleet works: a network of hosts, and at its gateway a broker and a store of its own. The engine is shared.

The engine's socket is a file, which every network namespace of this machine sees: containers are started through the
file system, not through the network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.network import Network, network
from tests.support.competition import Competition
from tests.support.own_broker import OwnBroker, own_broker
from tests.support.rabbit import Management, Owner
from worker.demo import azurite, engine, images
from worker.demo.blobs import BlobStore
from worker.demo.places import pick_port

RUNS = "compute-worker"
UPDATES = "submission-updates"
_CONTAINER = "fleet"
# Channels and queues tell their statistics at one interval, and at another they are added up: five seconds each by
# themselves.
_QUICK = "{collect_statistics_interval, 250}, {quorum_tick_interval, 250},"
_QUICK_SAMPLES = (
    "{rabbitmq_management_agent, [{sample_retention_policies,"
    " [{global, [{600, 1}]}, {basic, [{600, 1}]}, {detailed, [{10, 1}]}]}]},"
)


@dataclass(frozen=True, slots=True)
class Place:
    """`folder` is for the workers; so many seconds after something happened it is in the broker's statistics.

    Those are `quick` where they are there to be tried, not to be believed.
    """

    network: Network
    broker: OwnBroker
    statistics_delay: float
    quick: bool
    management: Management
    owner: Owner
    competition: Competition
    docker_host: str
    folder: Path


@contextmanager
def place(docker_host: str, hosts: int, *, quick: bool = False, terms: str = "") -> Iterator[Place]:
    """Makes it, and leaves nothing of it behind. With `quick` statistics the broker has more to do than by itself.

    `terms` are settings of it, as Erlang terms with a comma behind each.
    """
    statistics, apps = (_QUICK, _QUICK_SAMPLES) if quick else ("", "")
    with (
        tempfile.TemporaryDirectory(prefix="codalab-fleet-") as name,
        network(hosts) as net,
        _store(net.gateway, Path(name, "store")) as blobs,
        own_broker(Path(name, "rabbit"), terms=terms + statistics, apps=apps, host=net.gateway) as broker,
        closing(engine.connect(docker_host)) as client,
    ):
        management = Management(broker.api, broker.url)
        competition = Competition(blobs, _CONTAINER, images.ensure_base(client))
        folder = Path(name, "hosts")
        folder.mkdir()
        with management.owner() as owner:
            yield Place(net, broker, 1.5 if quick else 11.0, quick, management, owner, competition, docker_host, folder)


@contextmanager
def _store(host: str, folder: Path) -> Iterator[BlobStore]:
    service = azurite.start_at(host, pick_port(0), folder)
    try:
        blobs = BlobStore(service.address["blob_endpoint"])
        blobs.make_container(_CONTAINER)
        yield blobs
    finally:
        azurite.stop(service)
