"""The container engine as the settings have it, and whether it and this worker fit together."""

from __future__ import annotations

from pathlib import Path

import structlog

from config.settings import Settings
from sandbox.docker.client import EngineTls
from sandbox.docker.engine import DockerEngine
from sandbox.engine import ContainerEngine, Image
from sandbox.engine_facts import HostFacts
from sandbox.errors import FolderUnseen, SandboxError
from sandbox.folder_check import check_folder
from sandbox.gpu import GpuRequest, dealt_out, installed_gpus
from sandbox.gpu_check import check_gpu
from sandbox.host_paths import SharedFolder
from sandbox.wall import why_no_wall
from worker.compose_kept import is_cache_exposed
from worker.counters import NO_COUNTERS, Counters
from worker.kept.folders import TempDir
from worker.set_up import SetUpError, UnreachableError

_DEFAULT_ENGINE = "unix:///var/run/docker.sock"

_log = structlog.get_logger(__name__)


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


def check_folders_and_walls(settings: Settings, engine: ContainerEngine, host: HostFacts, temp_dir: TempDir) -> bool:
    """Whether participants' output folders can be walled; else they are watched only.

    Raises `SetUpError` where a folder that containers are to see is not one of the engine's host. Both are looked at
    with one image, for it is the engine that takes the time, but in turn: a disk may have room for one of them only.
    """
    with engine.empty_image() as image:
        _check_folders(settings, engine, temp_dir, image)
        return _may_wall(settings, engine, host, temp_dir, image)


def _may_wall(settings: Settings, engine: ContainerEngine, host: HostFacts, temp_dir: TempDir, image: Image) -> bool:
    """Tried once, here."""
    why = _no_wall(settings, engine, host, temp_dir, image)
    held = "watched" if why else "walled and watched"
    _log.info("output folders are held to their limits", by=held, **({"no_wall": why} if why else {}))
    return not why


def _no_wall(settings: Settings, engine: ContainerEngine, host: HostFacts, temp_dir: TempDir, image: Image) -> str:
    if settings.dont_finalize_submission:
        return "DONT_FINALIZE_SUBMISSION keeps the folders of runs, and no mount can be kept"
    if host.podman:
        return "Podman does not show a container what is mounted below its folders"
    try:
        with temp_dir.run_folder("wall-trial") as folder:
            return why_no_wall(folder.root, engine, image=image)
    except OSError as error:  # a disk that is full, above all: runs wait for room
        return str(error)


def _is_tcp(host: str | None) -> bool:
    return bool(host and host.startswith("tcp://"))


def checked_gpus(settings: Settings, engine: ContainerEngine) -> tuple[GpuRequest, ...] | None:
    """The GPUs of each run that can have some at a time, once the engine has shown that it can give them.

    None where runs are given none.
    Raises `SetUpError`, `GpuUnavailable`, `EngineRefused` or `EngineUnreachable`.
    """
    if not settings.use_gpu:
        return None
    ids = settings.worker_gpus
    if not ids and settings.worker_gpus_per_run:
        ids = installed_gpus()
    try:
        dealt = dealt_out(ids, settings.worker_gpus_per_run)
    except ValueError as error:
        raise SetUpError(f"WORKER_GPUS, WORKER_GPUS_PER_RUN: {error}") from error
    check_gpu(engine, GpuRequest(ids))
    return dealt


def _known_to_be_shared(settings: Settings) -> tuple[SharedFolder, ...]:
    host_directory = settings.host_directory
    return (SharedFolder(settings.submission_temp_dir, host_directory),) if host_directory else ()


def _check_folders(settings: Settings, engine: ContainerEngine, temp_dir: TempDir, image: Image) -> None:
    """Every folder that containers are to see must be one of the engine's host, too."""
    inputs = settings.worker_participant_input_dir
    if inputs and not inputs.is_dir():
        raise SetUpError(f"WORKER_PARTICIPANT_INPUT_DIR is no folder: {inputs}")
    if is_cache_exposed(settings):
        raise SetUpError("SUBMISSION_CACHE_DIR is in WORKER_PARTICIPANT_INPUT_DIR, where submissions would read it.")
    try:
        if inputs:
            engine.host_paths.of(inputs)
        check_folder(engine, temp_dir.path, image=image)
    except FolderUnseen as error:
        name = "SUBMISSION_TEMP_DIR or WORKER_PARTICIPANT_INPUT_DIR" if inputs else "SUBMISSION_TEMP_DIR"
        raise SetUpError(f"{name}: {error}") from error
