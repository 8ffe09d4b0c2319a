"""The disk guard on a disk of its own that really fills up."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from protocol.faults import PassingFault
from sandbox.usage import Usage
from sandbox.wall import raise_wall, take_down
from tests.support.waiting import PATIENCE
from worker.kept.disk import DiskGuard, check_room

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
            assert told.get(timeout=PATIENCE) == "pause"
            (disk / "big").unlink()
            assert told.get(timeout=PATIENCE) == "resume"
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


def test_room_is_made_for_as_long_as_there_is_something_to_give_up(disk: Path, tmp_path: Path) -> None:
    for name in ("old", "older", "oldest"):
        (disk / name).write_bytes(bytes(2 * MIB))
    asked: SimpleQueue[frozenset[Path]] = SimpleQueue()
    told: SimpleQueue[str] = SimpleQueue()

    def make_room(short: frozenset[Path]) -> bool:
        asked.put(short)
        for name in ("oldest", "older", "old"):
            if (disk / name).exists():
                (disk / name).unlink()
                return True
        return False

    guard = DiskGuard(
        [tmp_path, disk],
        LEAST,
        pause=lambda: told.put("pause"),
        resume=lambda: told.put("resume"),
        make_room=make_room,
        period=0.05,
    )
    guard.start()
    assert [told.get(timeout=PATIENCE) for _ in range(2)] == ["pause", "resume"]
    guard.close()
    assert asked.get_nowait() == {disk}
    assert (disk / "old").exists()  # no more than is needed


def test_a_place_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    told: list[str] = []
    guard = DiskGuard([tmp_path / "gone"], LEAST, pause=lambda: told.append("pause"), resume=lambda: None)
    guard.look()
    assert told == []
