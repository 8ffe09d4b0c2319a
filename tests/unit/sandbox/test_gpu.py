from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.docker.container_config import container_config
from sandbox.engine import ContainerSpec
from sandbox.errors import GpuUnavailable
from sandbox.gpu import GpuRequest, dealt_out, device_requests, gpu_environment, installed_gpus
from sandbox.gpu_check import check_gpu
from sandbox.profile import SecurityProfile
from sandbox.testing import FakeEngine

NVIDIA = {"Driver": "nvidia", "Capabilities": [["gpu"]]}


@pytest.mark.parametrize(
    ("request_", "expected", "visible"),
    [
        (None, [], "void"),
        (GpuRequest(), [NVIDIA | {"Count": -1}], "all"),
        (GpuRequest(count=3), [NVIDIA | {"Count": 3}], "0,1,2"),
        (GpuRequest(("0", "2")), [NVIDIA | {"DeviceIDs": ["0", "2"]}], "0,2"),
        (GpuRequest(("GPU-1a", "MIG-2b")), [NVIDIA | {"DeviceIDs": ["GPU-1a", "MIG-2b"]}], "GPU-1a,MIG-2b"),
        (
            GpuRequest(("nvidia.com/gpu=0", "nvidia.com/gpu=all")),
            [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=all"]}],
            "void",
        ),
    ],
)
def test_how_gpus_are_asked_for(request_: GpuRequest | None, expected: list[dict[str, object]], visible: str) -> None:
    assert device_requests(request_) == expected
    assert gpu_environment(request_) == {"NVIDIA_VISIBLE_DEVICES": visible}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ids": ("0",), "count": 1}, "not by both"),
        ({"count": 0}, "must be positive"),
        ({"count": -2}, "must be positive"),
        ({"ids": ("0", "nvidia.com/gpu=1")}, "or all CDI names"),
        ({"ids": ("",)}, "or all CDI names"),
        ({"ids": ("all",)}, "or all CDI names"),
        ({"ids": ("0,1",)}, "or all CDI names"),
        ({"ids": ("1", "1")}, "twice"),
    ],
)
def test_what_is_no_request_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GpuRequest(**arguments)


def test_a_container_cannot_choose_its_gpus_itself() -> None:
    profile = SecurityProfile(memory=1, cpus=1, pids=1, shm_size=1)
    spec = ContainerSpec("n", "i", profile, environment={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert container_config(spec, host_cpus=1)["Env"] == ["NVIDIA_VISIBLE_DEVICES=void"]
    spec = replace(spec, profile=replace(profile, gpus=GpuRequest(("1",))))
    assert container_config(spec, host_cpus=1)["Env"] == ["NVIDIA_VISIBLE_DEVICES=1"]


def test_the_drivers_list_of_gpus(tmp_path: Path) -> None:
    for bus, text in (
        ("0000:41:00.0", "Model: H\nGPU UUID: \t GPU-b\nBus: 1\n"),
        ("0000:01:00.0", "GPU UUID: GPU-a\n"),
        ("0000:99:00.0", "Model: broken\n"),
    ):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(text)
    assert installed_gpus(tmp_path) == ("GPU-a", "GPU-b")
    assert installed_gpus(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("ids", "per_run", "expected"),
    [
        ((), None, [()]),
        (("0", "3"), None, [("0", "3")]),
        (("0", "1", "2"), 1, [("0",), ("1",), ("2",)]),
        (("0", "1", "2", "3", "4"), 2, [("0", "1"), ("2", "3")]),
        (("GPU-a", "GPU-b"), 2, [("GPU-a", "GPU-b")]),
    ],
)
def test_as_many_runs_have_gpus_at_a_time_as_there_are_enough_for(
    ids: tuple[str, ...], per_run: int | None, expected: list[tuple[str, ...]]
) -> None:
    assert dealt_out(ids, per_run) == tuple(map(GpuRequest, expected))


@pytest.mark.parametrize(
    ("ids", "per_run", "words"),
    [(("0",), 2, "get 2 GPUs, but there are 1"), (("0",), 0, "get 0 GPUs"), ((), 1, "name the GPUs")],
)
def test_what_can_never_be_given_is_refused(ids: tuple[str, ...], per_run: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dealt_out(ids, per_run)


def test_the_check_passes_where_only_the_command_is_missing() -> None:
    engine = FakeEngine(gpus=True)
    check_gpu(engine, GpuRequest())
    assert (engine.containers, engine.programs) == ({}, {})
    assert engine.removed[0].spec.profile.gpus == GpuRequest()


def test_the_check_names_the_mend_for_cdi() -> None:
    with pytest.raises(GpuUnavailable, match=r"nvidia\.com/gpu=0: check the driver and the engine's CDI support"):
        check_gpu(FakeEngine(), GpuRequest(("nvidia.com/gpu=0",)))
