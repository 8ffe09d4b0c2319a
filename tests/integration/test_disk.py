"""The disk guard on a disk of its own that really fills up."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from protocol.faults import PassingFault
from sandbox.usage import Usage
from sandbox.wall import raise_wall, take_down
from worker.disk import DiskGuard, check_room

MIB = 1 << 20
LEAST = 4 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    raise_wall(tmp_path, [place], Usage(8 * MIB, 100))
    yield place
    take_down(tmp_path)


def test_intake_pauses_while_there_is_no_room_and_says_what_it_waits_for(disk: Path, tmp_path: Path) -> None:
    told: SimpleQueue[str] = SimpleQueue()
    places = [tmp_path, disk]
    guard = DiskGuard(places, LEAST, pause=lambda: told.put("pause"), resume=lambda: told.put("resume"), period=0.05)
    with capture_logs() as logs:
        guard.start()
        for _ in range(2):
            (disk / "big").write_bytes(bytes(6 * MIB))
            assert told.get(timeout=10) == "pause"
            (disk / "big").unlink()
            assert told.get(timeout=10) == "resume"
        guard.close()
    assert told.empty()
    assert (logs[0]["place"], logs[0]["needed"]) == (str(disk), "4 MiB")
    assert len(logs) == 4


def test_a_disk_without_room_is_found_before_the_first_run(disk: Path) -> None:
    (disk / "big").write_bytes(bytes(6 * MIB))
    told: list[str] = []
    guard = DiskGuard([disk], LEAST, pause=lambda: told.append("pause"), resume=lambda: told.append("resume"))
    guard.start()
    guard.close()
    assert told == ["pause"]


def test_a_disk_that_is_full_after_a_run_is_the_platforms_trouble(disk: Path) -> None:
    check_room(disk)
    with pytest.raises(OSError, match="No space left"):
        (disk / "big").write_bytes(bytes(64 * MIB))
    with pytest.raises(PassingFault, match="no room left on its disk"):
        check_room(disk)
