"""How much a container has written to its writable layer and to its anonymous volumes.

Where the worker sees the engine's own folders it walks them itself, and counts what lies on the disk. Elsewhere the
engine is asked, which does likewise, but counts holes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import translated
from sandbox.engine import ScratchMeter
from sandbox.usage import measure, on_disk


def scratch_meter(api: EngineClient, inspected: Mapping[str, Any]) -> ScratchMeter:
    """The meter of a container, from what the engine says of it."""
    driver = (inspected.get("GraphDriver") or {}).get("Data") or {}
    volumes = {mount["Name"]: mount["Source"] for mount in inspected.get("Mounts") or () if mount["Type"] == "volume"}
    folders = [Path(text) for text in (driver.get("UpperDir"), *volumes.values()) if text]
    if driver.get("UpperDir") and all(os.access(folder, os.R_OK | os.X_OK) for folder in folders):
        return ScratchMeter(lambda: measure(folders, sizer=on_disk).size, folders[0])
    return ScratchMeter(partial(_asked, api, inspected["Id"], frozenset(volumes)))


def _asked(api: EngineClient, container: str, volumes: frozenset[str]) -> int:
    with translated("asking what a container wrote"):
        layer = api.ask("GET", "/containers/{0}/json", container, size="1").json().get("SizeRw") or 0
        return int(layer) + (_in_volumes(api, volumes) if volumes else 0)


def _in_volumes(api: EngineClient, names: frozenset[str]) -> int:
    """Newer engines heed the type; older ones add up images and containers, too, which takes longer."""
    found = api.ask("GET", "/system/df", type="volume").json().get("Volumes") or ()
    return sum(max(0, volume["UsageData"]["Size"]) for volume in found if volume["Name"] in names)
