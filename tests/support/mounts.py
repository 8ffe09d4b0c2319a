"""What is mounted, as the kernel tells it."""

from pathlib import Path

from tests.support.waiting import wait_until


def mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for line in lines if (point := line.split()[4]).startswith(f"{folder}/")]


def loop_devices_below(folder: Path) -> list[str]:
    """Files below it that a loop device holds."""
    found = Path("/sys/block").glob("loop*/loop/backing_file")
    return [text for path in found if (text := _text(path)).startswith(f"{folder}/")]


def wait_until_gone(folder: Path) -> None:
    """Until neither is left; a loop device lets go of its file a moment after its mount has gone, and tells nobody."""

    def left() -> list[str]:
        return [*mounted_below(folder), *loop_devices_below(folder)]

    wait_until(lambda: not left(), left)


def _text(path: Path) -> str:
    """Nothing where it has gone meanwhile: others' devices come and go."""
    try:
        return path.read_text()
    except OSError:
        return ""
