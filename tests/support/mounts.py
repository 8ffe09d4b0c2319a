"""What is mounted, as the kernel tells it."""

import time
from pathlib import Path

_PATIENCE = 20.0


def mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for line in lines if (point := line.split()[4]).startswith(f"{folder}/")]


def loop_devices_below(folder: Path) -> list[str]:
    """Files below it that loop devices do not let go.

    Whoever makes a mount namespace just then, as for each container of the host, has copies of all mounts at first.
    """
    deadline = time.monotonic() + _PATIENCE
    while (held := _held_below(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


def _held_below(folder: Path) -> list[str]:
    found = Path("/sys/block").glob("loop*/loop/backing_file")
    return [text for path in found if (text := _text(path)).startswith(f"{folder}/")]


def _text(path: Path) -> str:
    """Empty where the device is let go just then."""
    try:
        return path.read_text()
    except OSError:
        return ""
