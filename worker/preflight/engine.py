"""The container engine: there, of use, and true to the limits that it is given. No registry is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from config.settings import Settings
from sandbox.canary_program import ARCHITECTURE
from sandbox.docker.engine import DockerEngine
from sandbox.engine_facts import EngineReport, HostFacts
from sandbox.errors import GpuUnavailable, SandboxError
from sandbox.limits_check import LimitsSeen, try_limits
from worker import compose_engine
from worker.engine_fit import PODMAN, UnfitEngineError, check_kind
from worker.preflight.clock import clock_line
from worker.preflight.lines import CheckLine, Lines, failed, ok, warning
from worker.set_up import SetUpError, UnreachableError
from worker.shares import slots

_OLDEST_API = (1, 41)  # the oldest that the worker is tested with
_SLOW_DRIVERS = {"vfs": "copies every image for every container"}

_UNTOLD = "but who comes up to the limit of processes is not told so, for the kernel's log cannot be read"
_MEND_OF_UNTOLD = "Give it CAP_SYSLOG and /dev/kmsg, as its unit and compose file do; a remote host's is out of reach."


@contextmanager
def engine_of(settings: Settings) -> Iterator[DockerEngine | None]:
    """The engine for one check; None where none answers, which `look_at_engine` tells."""
    try:
        engine = compose_engine.docker_engine(settings)
    except UnreachableError:
        yield None
        return
    with closing(engine):
        yield engine


def look_at_engine(settings: Settings) -> Lines:
    """Version, storage, warnings of its own, and its clock."""
    try:
        engine = compose_engine.docker_engine(settings)
    except UnreachableError as error:
        yield failed("engine", str(error), _mend_of_absence(settings, str(error)))
        return
    with closing(engine):
        report, facts = engine.report(), engine.host_facts()
        yield _version(report)
        yield from _kind(facts)
        yield clock_line("the engine", report.clock, time.time())
        yield from _own_warnings(report, swap=facts.swap_limit)


def look_at_limits(settings: Settings) -> Lines:
    """Whether containers are held to memory, processes and CPUs, tried by a program that takes more."""
    runtime = settings.worker_runtime
    with engine_of(settings) as engine:
        if engine is None:
            return
        if (architecture := engine.report().architecture) != ARCHITECTURE:
            found = f"not tried: that takes a host of {ARCHITECTURE}, and the engine's is {architecture}"
            yield warning("limits", found, "Take the engine's word: docker info shows no warning about limits.")
            return
        try:
            yield _limits(try_limits(engine, runtime=runtime), runtime)
        except SandboxError as error:
            yield failed("limits", str(error), _mend_of_runtime(engine, runtime))


def look_at_gpus(settings: Settings) -> Lines:
    """Whether the engine gives the GPUs that are asked for."""
    if not settings.use_gpu:
        yield ok("gpu", "not asked for (USE_GPU)")
        return
    with engine_of(settings) as engine:
        if engine is None:
            return
        try:
            dealt = compose_engine.checked_gpus(settings, engine)
        except SetUpError as error:
            yield failed("gpu", str(error), "Correct WORKER_GPUS and WORKER_GPUS_PER_RUN.")
        except (GpuUnavailable, SandboxError) as error:
            yield failed("gpu", str(error), "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker")
        else:
            yield _gpus(settings, slots(settings, dealt))


def _gpus(settings: Settings, runs: int) -> CheckLine:
    found = f"a container got {', '.join(settings.worker_gpus) or 'all'}"
    if runs == settings.worker_concurrency:
        return ok("gpu", found)
    return warning(
        "gpu",
        f"{found}, enough for {runs} run{'s' if runs > 1 else ''} at a time, and WORKER_CONCURRENCY is more",
        "Name more GPUs in WORKER_GPUS, give a run fewer (WORKER_GPUS_PER_RUN), or lower WORKER_CONCURRENCY.",
    )


def _mend_of_absence(settings: Settings, why: str) -> str:
    if "Permission denied" in why:
        return "Run it as root, as the daemon is; or usermod -aG docker $USER, and log in anew."
    if compose_engine.engine_address(settings).startswith("unix://"):
        return "systemctl start docker; or name the engine's socket in DOCKER_HOST."
    return "Correct DOCKER_HOST, and DOCKER_CERT_PATH for TLS."


def _version(report: EngineReport) -> CheckLine:
    found = (
        f"Docker {report.version}, API {report.api_version}, storage {report.storage_driver}, "
        f"cgroup v{report.cgroup_version}, runtime {report.default_runtime}"
    )
    if _number(report.api_version) < _OLDEST_API:
        return warning("engine", found, "Upgrade Docker to 20.10 or later: older ones are not tested.")
    if why := _SLOW_DRIVERS.get(report.storage_driver):
        return warning("engine", f"{found}: {why}", "Set storage-driver to overlay2 in /etc/docker/daemon.json.")
    return ok("engine", found)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _kind(facts: HostFacts) -> Lines:
    try:
        check_kind(facts)
    except UnfitEngineError as error:
        yield failed("engine", str(error), "See docs/security.md for the engines that the worker can use.")
    if facts.podman:
        yield warning("engine", PODMAN, "Take a Docker engine where participants should be told of it.")


def _own_warnings(report: EngineReport, *, swap: bool) -> Lines:
    for text in report.warnings:
        yield warning("engine", text, "See the engine's documentation; docker info shows this, too.")
    if not swap:
        mend = "Boot the host with swapaccount=1, or switch swap off: swapoff -a"
        yield warning("engine", "the kernel does not limit swap, so a container may swap beyond its memory limit", mend)


def _limits(seen: LimitsSeen, runtime: str | None) -> CheckLine:
    limits = {"memory": seen.memory, "processes": seen.processes, "CPUs": seen.cpu}
    broken = [name for name, held in limits.items() if held is False]
    under = f" under the runtime {runtime}" if runtime else ""
    if not broken:
        held = f"memory, processes and CPUs are held to{under}"
        return ok("limits", held) if seen.told else warning("limits", f"{held}, {_UNTOLD}", _MEND_OF_UNTOLD)
    found = f"a container took more than it was given{under}: {', '.join(broken)}"
    mend = "docker info --format '{{json .Warnings}}' names what the kernel lacks; boot it with those cgroups."
    if runtime and broken == ["processes"]:  # gVisor does not count the threads of its guests
        return warning("limits", found, "Known of gVisor; else take another WORKER_RUNTIME.")
    return failed("limits", found, mend)


def _mend_of_runtime(engine: DockerEngine, runtime: str | None) -> str:
    runtimes = engine.host_facts().runtimes
    if runtime and runtime not in runtimes:
        known = ", ".join(runtimes)
        return f"Set WORKER_RUNTIME to one of {known}, or install {runtime} and name it in /etc/docker/daemon.json."
    return "See the engine's log: journalctl -u docker"
