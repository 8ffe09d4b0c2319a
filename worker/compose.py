"""Puts the worker together: the only place that names concrete classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from config.settings import Settings
from protocol import broker_url
from protocol.broker_url import BrokerAddress
from sandbox.docker.client import EngineTls
from sandbox.docker.engine import DockerEngine
from sandbox.engine import ContainerEngine, HostFacts
from sandbox.errors import EngineUnreachable, GpuUnavailable, SandboxError
from sandbox.gpu import GpuAllotment, GpuRequest, installed_gpus
from sandbox.gpu_check import check_gpu
from sandbox.runner import Sandbox
from worker.abandoned import remove_abandoned
from worker.broker import connection as amqp
from worker.broker.connection import ConnectionParameters
from worker.folders import TempDir, identity
from worker.journal import Journals
from worker.profiles import make_profiles
from worker.storage.store import Store
from worker.storage.transfer import Transfers
from worker.tools import Progress, Tools, UpdateSink

_DEFAULT_ENGINE = "unix:///var/run/docker.sock"

_log = structlog.get_logger(__name__)


class SetUpError(Exception):
    """The worker cannot be set up: settings that do not fit, the message says which and what to do."""


class UnreachableError(Exception):
    """Something that the worker cannot do without does not answer, or cannot do what it must."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Parameters of the two connections: the runs' virtual host, and the one that updates go to."""

    runs: ConnectionParameters
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


@contextmanager
def tools(
    settings: Settings,
    updates: UpdateSink,
    *,
    temp_dir: Path | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
) -> Iterator[Tools]:
    """Everything that runs need, for as long as the block lasts; `store` in place of the sites' signed URLs.

    Raises `SetUpError`, `UnreachableError` (engine away, or without the GPUs asked for) and
    `TempDirTakenError`.
    """
    held = TempDir(temp_dir or settings.submission_temp_dir)
    try:
        with Transfers() as transfers:
            yield _gathered(settings, updates, held, store or transfers, progress)
    finally:
        held.close()


def _gathered(
    settings: Settings, updates: UpdateSink, temp_dir: TempDir, transfers: Store, progress: Progress | None
) -> Tools:
    engine = docker_engine(settings)
    _check_input_folder(settings)
    try:
        host = engine.host_facts()
        check_runtime(settings, host)
        gpus = checked_gpus(settings, engine)
    except (EngineUnreachable, GpuUnavailable) as error:
        raise UnreachableError(str(error)) from error
    remove_abandoned(engine, settings.submission_temp_dir)
    return Tools(
        settings=settings,
        worker_id=identity(temp_dir.path),
        sandbox=Sandbox(engine),
        transfers=transfers,
        temp_dir=temp_dir,
        journals=Journals(temp_dir.journal),
        updates=updates,
        profiles=make_profiles(settings, host),
        gpus=gpus,
        progress=progress,
    )


def engine_address(settings: Settings) -> str:
    """Where the Docker engine is to be."""
    return settings.docker_host or _DEFAULT_ENGINE


def registry_auth(settings: Settings) -> Path:
    """The file that holds registry credentials, if it is there."""
    return settings.worker_registry_auth or Path("~/.docker/config.json").expanduser()


def docker_engine(settings: Settings) -> DockerEngine:
    """The engine, when it has answered. Raises `UnreachableError`."""
    tls = None
    if settings.docker_cert_path and (settings.docker_tls_verify or _is_tcp(settings.docker_host)):
        tls = EngineTls(settings.docker_cert_path, verify=settings.docker_tls_verify)
    try:
        return DockerEngine(engine_address(settings), tls=tls, registry_auth=registry_auth(settings))
    except SandboxError as error:
        raise UnreachableError(f"No Docker engine answers at {engine_address(settings)}: {error}") from error


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


def check_runtime(settings: Settings, host: HostFacts) -> None:
    """Raises `SetUpError` where the engine has no runtime of that name; a shim's own name it may know all the same."""
    runtime = settings.worker_runtime
    if runtime and runtime not in host.runtimes and "." not in runtime:
        raise SetUpError(
            f"WORKER_RUNTIME: the engine has no runtime {runtime}; it has {', '.join(host.runtimes)}. "
            "Another is named in /etc/docker/daemon.json."
        )


def _check_input_folder(settings: Settings) -> None:
    folder = settings.worker_participant_input_dir
    if folder and not folder.is_dir():
        raise SetUpError(f"WORKER_PARTICIPANT_INPUT_DIR is no folder: {folder}")
