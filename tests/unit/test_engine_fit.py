"""Which engines are refused at the start, and in what words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import structlog

from config.settings import Settings
from sandbox.docker.facts import host_facts
from sandbox.engine_facts import HostFacts
from sandbox.errors import EngineRefused, GpuUnavailable, StartRefused
from sandbox.gpu import GpuRequest
from sandbox.gpu_check import check_gpu
from sandbox.testing import FakeEngine
from worker.engine_fit import UnfitEngineError, check_fit

HOST = FakeEngine().host_facts()
INFO = {"NCPU": 2, "MemTotal": 1 << 30, "MemoryLimit": True, "PidsLimit": True, "SecurityOptions": ["name=seccomp"]}


@dataclass
class Engine(FakeEngine):
    """One whose facts and whose runtimes are as a test wants them."""

    facts: HostFacts = HOST
    start_error: Exception | None = None

    def host_facts(self) -> HostFacts:
        return self.facts

    def start(self, container: str) -> None:
        if self.start_error:
            raise self.start_error
        super().start(container)


def fit(engine: Engine, **settings: str) -> None:
    check_fit(Settings.model_validate(settings), engine, engine.facts)
    assert not engine.containers


@pytest.mark.parametrize("runtime", ["runc", "io.containerd.kata.v2"])
def test_a_runtime_is_tried(runtime: str) -> None:
    engine = Engine()
    fit(engine, worker_runtime=runtime)
    assert [held.spec.profile.runtime for held in engine.removed] == [runtime]


def test_without_a_runtime_nothing_is_tried() -> None:
    engine = Engine()
    fit(engine)
    assert not engine.removed


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (Engine(), "WORKER_RUNTIME: The container engine has no OCI runtime runsc; it has runc. Register it"),
        (
            Engine(facts=replace(HOST, runtimes=("runsc",)), start_error=EngineRefused("It says: no such file")),
            "WORKER_RUNTIME: The container engine cannot start a container by its OCI runtime runsc: .* no such file",
        ),
        (Engine(facts=replace(HOST, runtimes=("runsc",), podman=True)), "WORKER_RUNTIME: Podman ignores"),
    ],
)
def test_a_runtime_that_cannot_be_had_is_told_with_the_mend(engine: Engine, words: str) -> None:
    with pytest.raises(UnfitEngineError, match=words):
        fit(engine, worker_runtime="runsc")
    assert not engine.containers


def test_a_runtime_that_misses_only_the_command_works() -> None:
    fit(Engine(start_error=StartRefused("no such command")), worker_runtime="runc")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(HOST, rootless=True), "The container engine is rootless: .* userns-remap"),
        (replace(HOST, limits_not_held=("memory", "processes")), "cannot hold .* limits of memory and processes"),
    ],
)
def test_an_engine_that_cannot_hold_the_walls_is_refused(facts: HostFacts, words: str) -> None:
    with pytest.raises(UnfitEngineError, match=words):
        fit(Engine(facts=facts))


def test_podman_is_taken_with_a_warning_but_not_for_gpus() -> None:
    with structlog.testing.capture_logs() as logs:
        fit(Engine(facts=replace(HOST, podman=True)))
    assert [entry["log_level"] for entry in logs] == ["warning"]
    with pytest.raises(GpuUnavailable, match="Podman ignores requests for GPUs"):
        check_gpu(Engine(facts=replace(HOST, podman=True), gpus=True), GpuRequest())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, {"rootless": False, "remapped_root": None, "limits_not_held": ()}),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, {"rootless": True}),
        (
            {"SecurityOptions": ["name=userns"], "DockerRootDir": "/var/lib/docker/231072.231073"},
            {"remapped_root": (231072, 231073)},
        ),
        ({"DockerRootDir": "/data/1000.1000"}, {"remapped_root": None}),  # a folder that is only called so
        ({"SecurityOptions": ["name=userns"], "DockerRootDir": "/elsewhere"}, {"remapped_root": None}),
        ({"MemoryLimit": False}, {"limits_not_held": ("memory",)}),
        ({"MemoryLimit": False, "PidsLimit": False}, {"limits_not_held": ("memory", "processes")}),
        ({"SecurityOptions": None, "Runtimes": None}, {"runtimes": ()}),
    ],
)
def test_what_an_engine_says_of_itself(said: dict[str, object], expected: dict[str, object]) -> None:
    facts = host_facts({**INFO, **said}, {})
    assert {name: getattr(facts, name) for name in expected} == expected


def test_podman_names_itself_among_its_components() -> None:
    assert host_facts(INFO, {"Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}).podman
    assert not host_facts(INFO, {"Components": [{"Name": "Engine"}, {"Name": "containerd"}]}).podman
