"""Memory, swap and CPU of the worker's host, in the form that the site stores with each run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class HostUsage:
    """A snapshot: JSON objects of psutil's fields (bytes, percent) as text, and the CPU in percent."""

    virtual_memory: str
    swap_memory: str
    cpu: float


def host_usage() -> HostUsage:
    """How the host stands now; the CPU's share is since the last call, as today's workers tell it."""
    return HostUsage(
        virtual_memory=json.dumps(psutil.virtual_memory()._asdict()),
        swap_memory=json.dumps(psutil.swap_memory()._asdict()),
        cpu=psutil.cpu_percent(interval=None),
    )


def boot_id() -> str:
    """Names this life of the host: another after each boot, the same for every process and container."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
