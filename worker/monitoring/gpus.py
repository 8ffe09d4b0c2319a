"""What the host's NVIDIA GPUs are doing, asked of the driver by NVML (package nvidia-ml-py, the extra `gpu`)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

import structlog

_PERCENT = 100.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU: its index as the driver counts, the share of time that it computes (0 to 1), bytes of its memory."""

    index: int
    utilisation: float
    memory_used: int
    memory_total: int


class GpuMeter:
    """Asks anew each time; a driver that fails has no figures, and says so once in the log until it answers again."""

    def __init__(self) -> None:
        self._nvml: ModuleType | None = _nvml()
        self._failing = False

    def read(self) -> tuple[GpuUse, ...]:
        """All GPUs of the host, not only those that runs are given; none where there is no NVML."""
        if not self._nvml:
            return ()
        try:
            found = _all(self._nvml)
        except self._nvml.NVMLError as error:
            if not self._failing:
                _log.warning("the GPUs' driver gives no figures", reason=str(error))
            self._failing = True
            return ()
        self._failing = False
        return found


def _nvml() -> ModuleType | None:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        _log.warning(
            "no figures of GPUs, for nvidia-ml-py is not installed",
            mend="pip install --require-hashes -r constraints/gpu.txt, or the image of Dockerfile.nvidia",
        )
        return None


def _all(nvml: ModuleType) -> tuple[GpuUse, ...]:
    """Initialised and ended each time, so that a driver that is reloaded is found again."""
    nvml.nvmlInit()
    try:
        return tuple(_one(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    finally:
        nvml.nvmlShutdown()


def _one(nvml: ModuleType, index: int) -> GpuUse:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
    return GpuUse(index, busy / _PERCENT, int(memory.used), int(memory.total))
