"""What is mounted, as the kernel tells it."""

from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_until


def mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for line in lines if (point := line.split()[4]).startswith(f"{folder}/")]


def loop_devices_below(folder: Path) -> list[str]:
    """Files below it that a loop device holds; others' come and go meanwhile."""
    held = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            held.append(path.read_text())
    return [text for text in held if text.startswith(f"{folder}/")]


def wait_for_no_loop_device_below(folder: Path) -> None:
    """A container that starts has all the host's mounts for a moment, and their devices with them."""
    wait_until(lambda: not loop_devices_below(folder), lambda: loop_devices_below(folder))
