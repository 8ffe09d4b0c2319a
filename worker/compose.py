"""Puts the worker together: the only place that names concrete classes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from config.settings import Settings
from protocol import broker_url
from protocol.broker_url import BrokerAddress
from protocol.celery_control import node_name
from protocol.celery_events import LamportClock
from sandbox.docker.client import EngineTls
from sandbox.docker.engine import DockerEngine
from sandbox.engine import ContainerEngine, HostFacts
from sandbox.errors import EngineRefused, EngineUnreachable, FolderUnseen, GpuUnavailable, SandboxError
from sandbox.folder_check import check_folder
from sandbox.gpu import GpuAllotment, GpuRequest, installed_gpus
from sandbox.gpu_check import check_gpu
from sandbox.host_paths import SAME_HOST, SharedFolder
from sandbox.patience import PATIENCE
from sandbox.runner import Sandbox
from sandbox.wall import why_no_wall
from worker.abandoned import remove_abandoned
from worker.broker import connection as amqp
from worker.broker.connection import ConnectionParameters
from worker.broker.control_commands import Commands, Runs
from worker.broker.events import WorkerEvents
from worker.broker.node_facts import NodeFacts, broker_info
from worker.broker.remote_control import RemoteControl
from worker.bundles.cache import BundleCache
from worker.compose_kept import bundle_cache, image_stock, is_cache_exposed
from worker.counters import NO_COUNTERS, Counters
from worker.disk import watched_disks
from worker.engine_fit import UnfitEngineError, check_fit
from worker.folders import TempDir, identity
from worker.journal import Journals
from worker.profiles import make_profiles
from worker.storage.counted import CountedStore
from worker.storage.store import Store
from worker.storage.transfer import Transfers
from worker.tools import Progress, Tools, UpdateSink

_DEFAULT_ENGINE = "unix:///var/run/docker.sock"
_SHORT_ID = 8  # characters, enough to tell workers of one host apart

_log = structlog.get_logger(__name__)


class SetUpError(Exception):
    """The worker cannot be set up: settings that do not fit, the message says which and what to do."""


class UnreachableError(Exception):
    """Something that the worker cannot do without does not answer, or cannot do what it must."""


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
    worker_id: str,
    runs: Runs,
    events: WorkerEvents,
    on_shutdown: Callable[[], None],
) -> RemoteControl:
    """This worker as a node among Celery's; `worker_id` tells it from others of the same host name."""
    clock = LamportClock()
    facts = NodeFacts(settings.worker_queue, settings.worker_concurrency, broker_info(connection))
    hostname = settings.codalab_hostname
    return RemoteControl(
        connection,
        (node_name(hostname), node_name(hostname, worker_id[:_SHORT_ID])),
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
        with Transfers() as transfers:
            counted = CountedStore(transfers, counters)
            cache = None if store else bundle_cache(settings, counted)
            yield _gathered(settings, updates, held, store or counted, cache, progress, counters)
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
        _check_folders(settings, engine, temp_dir)
        gpus = checked_gpus(settings, engine)
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
        profiles=make_profiles(settings, host),
        disks=watched_disks(temp_dir.path, engine, host),
        remapped_root=host.remapped_root,
        gpus=gpus,
        walls=_walls(settings, engine, host, temp_dir),
        cache=cache,
        progress=progress,
    )


def engine_address(settings: Settings) -> str:
    """Where the Docker engine is to be."""
    return settings.docker_host or _DEFAULT_ENGINE


def registry_auth(settings: Settings) -> Path:
    """The file that holds registry credentials, if it is there."""
    return settings.worker_registry_auth or Path("~/.docker/config.json").expanduser()


def docker_engine(settings: Settings, counters: Counters = NO_COUNTERS) -> DockerEngine:
    """The engine, when it has answered. Raises `UnreachableError`."""
    tls = None
    if settings.docker_cert_path and (settings.docker_tls_verify or _is_tcp(settings.docker_host)):
        tls = EngineTls(settings.docker_cert_path, verify=settings.docker_tls_verify)
    try:
        return DockerEngine(
            engine_address(settings),
            tls=tls,
            registry_auth=registry_auth(settings),
            shared=_known_to_be_shared(settings),
            on_pulled=counters.pulled,
        )
    except SandboxError as error:
        raise UnreachableError(f"No Docker engine answers at {engine_address(settings)}: {error}") from error


def _walls(settings: Settings, engine: ContainerEngine, host: HostFacts, temp_dir: TempDir) -> bool:
    """Whether participants' output folders can be walled; else they are watched only. Tried once, here."""
    why = _no_wall(settings, engine, host, temp_dir)
    held = "watched" if why else "walled and watched"
    _log.info("output folders are held to their limits", by=held, **({"no_wall": why} if why else {}))
    return not why


def _no_wall(settings: Settings, engine: ContainerEngine, host: HostFacts, temp_dir: TempDir) -> str:
    if settings.dont_finalize_submission:
        return "DONT_FINALIZE_SUBMISSION keeps the folders of runs, and no mount can be kept"
    if host.podman:
        return "Podman does not show a container what is mounted below its folders"
    try:
        with temp_dir.run_folder("wall-trial") as folder:
            return why_no_wall(folder.root, engine)
    except OSError as error:  # a disk that is full, above all: runs wait for room
        return str(error)


def _is_tcp(host: str | None) -> bool:
    return bool(host and host.startswith("tcp://"))


def checked_gpus(settings: Settings, engine: ContainerEngine) -> GpuAllotment | None:
    """The GPUs to deal out, once the engine has shown that it can give them.

    Raises `SetUpError`, `GpuUnavailable`, `EngineRefused` or `EngineUnreachable`.
    """
    if not settings.use_gpu:
        return None
    ids = settings.worker_gpus
    if not ids and settings.worker_gpus_per_run:
        ids = installed_gpus()
    try:
        allotment = GpuAllotment(ids, settings.worker_gpus_per_run)
    except ValueError as error:
        raise SetUpError(f"WORKER_GPUS, WORKER_GPUS_PER_RUN: {error}") from error
    check_gpu(engine, GpuRequest(ids))
    return allotment


def _known_to_be_shared(settings: Settings) -> tuple[SharedFolder, ...]:
    host_directory = settings.host_directory
    return (SharedFolder(settings.submission_temp_dir, host_directory),) if host_directory else ()


def _check_folders(settings: Settings, engine: ContainerEngine, temp_dir: TempDir) -> None:
    """Every folder that containers are to see must be one of the engine's host, too."""
    inputs = settings.worker_participant_input_dir
    if inputs and not inputs.is_dir():
        raise SetUpError(f"WORKER_PARTICIPANT_INPUT_DIR is no folder: {inputs}")
    if is_cache_exposed(settings):
        raise SetUpError("SUBMISSION_CACHE_DIR is in WORKER_PARTICIPANT_INPUT_DIR, where submissions would read it.")
    try:
        if inputs:
            engine.host_paths.of(inputs)
        check_folder(engine, temp_dir.path)
    except FolderUnseen as error:
        name = "SUBMISSION_TEMP_DIR or WORKER_PARTICIPANT_INPUT_DIR" if inputs else "SUBMISSION_TEMP_DIR"
        raise SetUpError(f"{name}: {error}") from error


def _named(settings: Settings, engine: ContainerEngine, host: HostFacts) -> Settings:
    """In a container the default of CODALAB_HOSTNAME is but its id: the site is shown the name of the host instead."""
    if engine.host_paths == SAME_HOST or settings.codalab_hostname != socket.gethostname():
        return settings
    return settings.model_copy(update={"codalab_hostname": host.name})
