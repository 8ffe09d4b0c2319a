"""Walls that are ready before there is a run for them."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sandbox import wall
from sandbox.usage import Usage
from sandbox.wall import WallError, make_wall, put_behind, take_down
from tests.support.mounts import loop_devices_below, mounted_below
from worker.kept.walls import Walls

pytestmark = pytest.mark.integration
MIB = 1 << 20
MOST = Usage(4 * MIB, 50)
PATIENCE = 20.0


@contextmanager
def two_ready(place: Path) -> Iterator[Walls]:
    with closing(Walls(place, MOST)) as walls:
        walls.keep_ready(2)
        wait_for(place, 2)
        yield walls


def wait_for(place: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(mounted_below(place)) != count:
        assert time.monotonic() < deadline, mounted_below(place)
        time.sleep(0.01)


def run_folder(root: Path, name: str) -> Path:
    made = root / "runs" / name
    (made / "output").mkdir(parents=True)
    return made


def test_one_that_is_ready_becomes_a_runs_own(tmp_path: Path) -> None:
    place = tmp_path / "walls"
    with two_ready(place) as walls:
        run = run_folder(tmp_path, "one")
        walls.make(run)
        put_behind(run, [run / "output"])
        assert len(mounted_below(place)) == 1, "it was one of those"
        with pytest.raises(OSError, match="No space left"):
            (run / "output" / "all").write_bytes(bytes(MOST.size + MIB))
        walls.refill()
        wait_for(place, 2)
        take_down(run)
    assert mounted_below(tmp_path) == []
    assert loop_devices_below(tmp_path) == []
    assert not place.exists()


def test_where_none_is_left_it_is_made_on_the_spot(tmp_path: Path) -> None:
    with two_ready(tmp_path / "walls") as walls:
        runs = [run_folder(tmp_path, str(number)) for number in range(3)]
        for run in runs:
            walls.make(run)
        assert [len(mounted_below(run)) for run in runs] == [1, 1, 1]
        for run in runs:
            take_down(run)


def test_none_is_made_ahead_unless_somebody_asks(tmp_path: Path) -> None:
    place = tmp_path / "walls"
    with closing(Walls(place, MOST)) as walls:
        walls.refill()
        run = run_folder(tmp_path, "one")
        walls.make(run)
        assert mounted_below(run)
        take_down(run)
        assert not place.exists()


def test_what_a_killed_process_left_is_removed_first(tmp_path: Path) -> None:
    left = tmp_path / "walls" / "left"
    left.mkdir(parents=True)
    make_wall(left, MOST)
    with two_ready(tmp_path / "walls"):
        assert not left.exists()


def test_one_that_cannot_be_made_ahead_is_the_runs_to_find_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "_PATH", os.devnull)
    with closing(Walls(tmp_path / "walls", MOST)) as walls:
        walls.keep_ready(1)
        with pytest.raises(WallError, match="not installed"):
            walls.make(run_folder(tmp_path, "one"))
