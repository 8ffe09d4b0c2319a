"""Puts the worker together: the only place that names concrete classes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from config.settings import Settings
from protocol import broker_url
from protocol.broker_url import BrokerAddress
from protocol.celery_control import node_name
from protocol.celery_events import LamportClock
from sandbox.engine import ContainerEngine
from sandbox.engine_facts import HostFacts
from sandbox.errors import EngineRefused, EngineUnreachable, GpuUnavailable
from sandbox.host_paths import SAME_HOST
from sandbox.patience import PATIENCE
from sandbox.runner import Sandbox
from sandbox.slots import Slots
from worker.broker import connection as amqp
from worker.broker.connection import ConnectionParameters
from worker.broker.control_commands import Commands, Runs
from worker.broker.events import WorkerEvents
from worker.broker.node_facts import NodeFacts, broker_info
from worker.broker.remote_control import RemoteControl
from worker.bundles.cache import BundleCache
from worker.compose_engine import check_folders_and_walls, checked_gpus, docker_engine
from worker.compose_kept import bundle_cache, image_stock
from worker.counters import NO_COUNTERS, Counters
from worker.engine_fit import UnfitEngineError, check_fit
from worker.kept.abandoned import remove_abandoned
from worker.kept.disk import watched_disks
from worker.kept.folders import TempDir, identity
from worker.kept.journal import Journals
from worker.kept.walls import Walls
from worker.profiles import make_profiles
from worker.set_up import SetUpError, UnreachableError
from worker.shares import share_out
from worker.stages.bounding import most
from worker.storage.store import Store
from worker.storage.transfer import Transfers
from worker.tools import Progress, Tools, UpdateSink

_SHORT_ID = 8  # characters, enough to tell workers of one host apart


@dataclass(frozen=True, slots=True)
class Broker:
    """Parameters of the connections: two to the runs' virtual host, and one to that which updates go to."""

    runs: ConnectionParameters
    control: ConnectionParameters
    updates: ConnectionParameters


def broker(settings: Settings) -> Broker:
    """How to reach the broker. Raises `SetUpError` where BROKER_URL is missing or makes no sense."""
    if not settings.broker_url:
        raise SetUpError("BROKER_URL is not set: put the URL that the site shows for this queue into it.")
    try:
        address = broker_url.parse(settings.broker_url.get_secret_value(), tls=settings.broker_use_ssl)
    except broker_url.BrokerUrlError as error:
        raise SetUpError(str(error)) from None
    return Broker(
        runs=_parameters(settings, address, "runs"),
        control=_parameters(settings, address, "control"),
        updates=_parameters(settings, address.with_vhost(settings.worker_updates_vhost), "updates"),
    )


def _parameters(settings: Settings, address: BrokerAddress, purpose: str) -> ConnectionParameters:
    ca_file = settings.broker_ssl_ca
    if ca_file and not ca_file.is_file():
        raise SetUpError(f"BROKER_SSL_CA names no file: {ca_file}")
    return amqp.parameters(
        address,
        name=f"codalab-worker {settings.codalab_hostname} {purpose}",
        ca_file=str(ca_file) if ca_file else None,
        verify=settings.broker_ssl_verify,
    )


def remote_control(
    settings: Settings,
    connection: ConnectionParameters,
    tools: Tools,
    runs: Runs,
    events: WorkerEvents,
    on_shutdown: Callable[[], None],
) -> RemoteControl:
    """This worker as a node among Celery's; part of its identity tells it from others of the same host name."""
    clock = LamportClock()
    facts = NodeFacts(settings.worker_queue, len(tools.slots), broker_info(connection))
    hostname = settings.codalab_hostname
    return RemoteControl(
        connection,
        (node_name(hostname), node_name(hostname, tools.worker_id[:_SHORT_ID])),
        Commands(facts, runs, events, clock, on_shutdown),
        events,
        clock,
        pid=facts.pid,
    )


@contextmanager
def tools(
    settings: Settings,
    updates: UpdateSink,
    *,
    temp_dir: Path | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    counters: Counters = NO_COUNTERS,
) -> Iterator[Tools]:
    """Everything that runs need, for as long as the block lasts; `store` in place of the sites' signed URLs.

    Raises `SetUpError` (settings that do not fit, a folder that the engine does not see, an engine that cannot hold
    the walls), `UnreachableError` (engine away, or without the GPUs asked for) and `TempDirTakenError`.
    """
    held = TempDir(temp_dir or settings.submission_temp_dir)
    try:
        with Transfers(counters) as transfers:
            cache = None if store else bundle_cache(settings, transfers, counters)
            gathered = _gathered(settings, updates, held, store or transfers, cache, progress, counters)
            with closing(gathered.walls) if gathered.walls else nullcontext():
                yield gathered
    finally:
        held.close()


def _gathered(
    settings: Settings,
    updates: UpdateSink,
    temp_dir: TempDir,
    transfers: Store,
    cache: BundleCache | None,
    progress: Progress | None,
    counters: Counters,
) -> Tools:
    engine = docker_engine(settings, counters)
    try:
        host = engine.host_facts()
        check_fit(settings, engine, host)
        gpus = checked_gpus(settings, engine)
        walls = check_folders_and_walls(settings, engine, host, temp_dir)
        shares = share_out(settings, engine, host, gpus)
    except UnfitEngineError as error:
        raise SetUpError(str(error)) from error
    except (EngineUnreachable, EngineRefused, GpuUnavailable) as error:
        raise UnreachableError(str(error)) from error
    remove_abandoned(engine, settings.submission_temp_dir)
    journals = Journals(temp_dir.journal)
    return Tools(
        settings=_named(settings, engine, host),
        worker_id=identity(engine.host_paths.of(temp_dir.path), host.name),
        sandbox=Sandbox(engine, patience=min(PATIENCE, settings.worker_lease_ttl or PATIENCE)),
        images=image_stock(engine, temp_dir, journals),
        transfers=transfers,
        temp_dir=temp_dir,
        journals=journals,
        updates=updates,
        profiles=make_profiles(settings, host, shares),
        slots=Slots(shares),
        disks=watched_disks(temp_dir.path, engine, host),
        remapped_root=host.remapped_root,
        walls=Walls(temp_dir.walls, most(settings)) if walls else None,
        cache=cache,
        progress=progress,
    )


def _named(settings: Settings, engine: ContainerEngine, host: HostFacts) -> Settings:
    """In a container the default of CODALAB_HOSTNAME is but its id: the site is shown the name of the host instead."""
    if engine.host_paths == SAME_HOST or settings.codalab_hostname != socket.gethostname():
        return settings
    return settings.model_copy(update={"codalab_hostname": host.name})
