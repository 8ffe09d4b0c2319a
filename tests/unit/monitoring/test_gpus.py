"""What is asked of NVML, by a stand-in for its module: no GPU was to be had for these tests."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from worker.monitoring.gpus import GpuMeter, GpuUse


class NvmlError(Exception):
    """As `pynvml.NVMLError`."""


class FakeNvml(ModuleType):
    """The calls that are made, in their order; a driver that is `away` fails at the first."""

    NVMLError = NvmlError

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.away = False
        self.broken = False
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802 -- NVML wants that name
        if self.away:
            raise NvmlError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 -- NVML wants that name
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 -- NVML wants that name
        assert self.open
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802 -- NVML wants that name
        assert self.open
        return f"handle {index}"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802 -- NVML wants that name
        used = {"handle 0": 1 << 30, "handle 1": 3 << 30}[handle]
        return SimpleNamespace(total=80 << 30, free=(80 << 30) - used, used=used)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802 -- NVML wants that name
        if self.broken:
            raise NvmlError("GPU is lost")
        return SimpleNamespace(gpu={"handle 0": 25, "handle 1": 100}[handle], memory=50)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    module = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_each_gpu_with_its_use_and_memory(nvml: FakeNvml) -> None:
    assert GpuMeter().read() == (GpuUse(0, 0.25, 1 << 30, 80 << 30), GpuUse(1, 1.0, 3 << 30, 80 << 30))
    assert nvml.open == 0


def test_a_driver_that_fails_is_said_once_and_asked_again(nvml: FakeNvml) -> None:
    meter = GpuMeter()
    nvml.away = True
    with capture_logs() as logs:
        assert [meter.read(), meter.read()] == [(), ()]
    assert [(one["event"], one["reason"]) for one in logs] == [
        ("the GPUs' driver gives no figures", "Driver Not Loaded")
    ]
    nvml.away = False
    assert len(meter.read()) == 2


def test_a_gpu_that_is_lost_leaves_nothing_open(nvml: FakeNvml) -> None:
    nvml.broken = True
    assert GpuMeter().read() == ()
    assert nvml.open == 0


def test_without_the_extra_it_says_so_and_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with capture_logs() as logs:
        assert GpuMeter().read() == ()
    assert "constraints/gpu.txt" in logs[0]["mend"]
