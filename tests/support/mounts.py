"""What is mounted, as the kernel tells it."""

from pathlib import Path


def mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for line in lines if (point := line.split()[4]).startswith(f"{folder}/")]


def loop_devices_below(folder: Path) -> list[str]:
    """Files below it that a loop device holds."""
    found = Path("/sys/block").glob("loop*/loop/backing_file")
    return [text for path in found if (text := path.read_text()).startswith(f"{folder}/")]
