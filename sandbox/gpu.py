"""Which GPUs a container gets, and how they are asked of the engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ALL = -1
"""As a count: every GPU that the engine has."""

# `vendor.com/class=name`, the fully qualified device name of the Container Device Interface.
_CDI_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w-]*=[A-Za-z0-9][\w.:-]*")
# What the driver calls a GPU: its index, its UUID, or the UUID of a MIG slice.
_NVIDIA_NAME = re.compile(r"\d+(:\d+)?|(GPU|MIG)-[\w./-]+")


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The GPUs of one container: `ids` as the engine knows them, else `count` of any, where -1 is all.

    Ids are either all names of the driver (`0`, `GPU-…`, `MIG-…`) or all CDI names
    (`nvidia.com/gpu=0`). Raises ValueError where they are neither, or mixed, or where none is asked for.
    """

    ids: tuple[str, ...] = ()
    count: int = ALL

    def __post_init__(self) -> None:
        if self.ids and self.count != ALL:
            raise ValueError("GPUs are asked for by id or by count, not by both.")
        if self.count == 0 or self.count < ALL:
            raise ValueError(f"The number of GPUs must be positive or {ALL} for all, not {self.count}.")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError(f"The GPU ids name a GPU twice: {', '.join(self.ids)}.")
        if not any(all(form.fullmatch(name) for name in self.ids) for form in (_CDI_NAME, _NVIDIA_NAME)):
            raise ValueError(
                f"The GPU ids {', '.join(self.ids)} must all be indexes or UUIDs (0, GPU-…) "
                "or all CDI names (nvidia.com/gpu=0)."
            )

    @property
    def by_cdi(self) -> bool:
        """True where the ids are CDI names."""
        return bool(self.ids) and _CDI_NAME.fullmatch(self.ids[0]) is not None


def device_requests(request: GpuRequest | None) -> list[dict[str, object]]:
    """The `DeviceRequests` of the Engine API's HostConfig."""
    if request is None:
        return []
    if request.by_cdi:
        return [{"Driver": "cdi", "DeviceIDs": list(request.ids)}]
    # The engine refuses a request that has both a count and ids.
    chosen: dict[str, object] = {"DeviceIDs": list(request.ids)} if request.ids else {"Count": request.count}
    return [{"Driver": "nvidia", "Capabilities": [["gpu"]], **chosen}]


def gpu_environment(request: GpuRequest | None) -> dict[str, str]:
    """The variable by which NVIDIA's runtime chooses GPUs, so that no image can choose for itself.

    Where that runtime is the engine's default, an image with `NVIDIA_VISIBLE_DEVICES=all` would
    otherwise be given every GPU of the host without any request.
    """
    if request is None or request.by_cdi:
        return {"NVIDIA_VISIBLE_DEVICES": "void"}
    names = request.ids or (("all",) if request.count == ALL else tuple(map(str, range(request.count))))
    return {"NVIDIA_VISIBLE_DEVICES": ",".join(names)}


def installed_gpus(root: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """UUIDs of this host's NVIDIA GPUs as the driver lists them, in bus order; none without the driver."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(root.glob("*/information"))]
    found = (re.search(r"^GPU UUID:\s*(GPU-\S+)", text, re.MULTILINE) for text in texts)
    return tuple(match[1] for match in found if match)


def dealt_out(ids: tuple[str, ...] = (), per_run: int | None = None) -> tuple[GpuRequest, ...]:
    """The GPUs of each of the runs that can have some at the same time, so that none is given to two.

    `ids` are those that the worker may use; with none, one run at a time gets all GPUs of the engine. `per_run` is
    how many a run gets, None for all of them. Raises ValueError where a number is asked for that can never be had.
    """
    if per_run is not None and not ids:
        raise ValueError("To give each run a number of GPUs, name the GPUs that may be used.")
    if per_run is not None and not 1 <= per_run <= len(ids):
        raise ValueError(f"Each run is to get {per_run} GPUs, but there are {len(ids)} to give.")
    whole = GpuRequest(ids)  # the names must be sound
    if per_run is None:
        return (whole,)
    return tuple(GpuRequest(ids[first : first + per_run]) for first in range(0, len(ids) - per_run + 1, per_run))
