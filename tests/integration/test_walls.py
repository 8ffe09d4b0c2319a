"""Walls that are ready before there is a run for them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sandbox import wall
from sandbox.usage import Usage
from sandbox.wall import WallError, make_wall, put_behind, take_down
from tests.support.mounts import mounted_below, wait_until_gone
from tests.support.waiting import wait_until
from worker.kept.folders import TempDir
from worker.kept.walls import Walls

pytestmark = pytest.mark.integration
MIB = 1 << 20
MOST = Usage(4 * MIB, 50)


@contextmanager
def two_ready(place: Path) -> Iterator[Walls]:
    with closing(Walls(place, MOST)) as walls:
        walls.keep_ready(2)
        wait_for(place, 2)
        yield walls


def wait_for(place: Path, count: int) -> None:
    wait_until(lambda: len(mounted_below(place)) == count)


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
    wait_until_gone(tmp_path)
    assert not place.exists()


def test_one_that_somebody_has_unmounted_is_none(tmp_path: Path) -> None:
    with two_ready(tmp_path / "walls") as walls:
        for spare in (tmp_path / "walls").iterdir():
            subprocess.run(["umount", spare / "wall" / "inside"], check=True)
        run = run_folder(tmp_path, "run")
        walls.make(run)
        assert len(mounted_below(run)) == 1
        take_down(run)


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


def test_what_a_killed_process_left_is_removed_whether_or_not_the_next_one_makes_any(tmp_path: Path) -> None:
    with closing(TempDir(tmp_path)) as temp_dir:
        left = temp_dir.walls / "left"
        left.mkdir(parents=True)
        make_wall(left, MOST)
        assert temp_dir.clear_runs() == 0
        try:
            assert mounted_below(tmp_path) == []
            assert not temp_dir.walls.exists()
        finally:
            take_down(tmp_path)


def test_those_that_cannot_be_removed_keep_no_worker_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "walls"
    walls = Walls(place, MOST)
    walls.keep_ready(1)
    wait_for(place, 1)
    try:
        with monkeypatch.context() as without, capture_logs() as logs:
            without.setattr(wall, "_PATH", os.devnull)
            walls.close()
    finally:
        take_down(place)
    assert [entry["event"] for entry in logs][-1] == "a folder could not be removed whole"


def test_one_that_cannot_be_made_ahead_is_the_runs_to_find_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "walls"
    with closing(Walls(place, MOST)) as walls:
        with monkeypatch.context() as without, capture_logs() as logs:
            without.setattr(wall, "_PATH", os.devnull)
            walls.keep_ready(1)
            with pytest.raises(WallError, match="not installed"):
                walls.make(run_folder(tmp_path, "one"))
            wait_until(lambda: bool(logs) and not walls._in_making)
        assert [entry["event"] for entry in logs] == ["no wall could be made ahead"]
        assert list(place.iterdir()) == []
        walls.refill()
        wait_for(place, 1)


@pytest.mark.parametrize(("free", "made"), [(MOST.size - 1, 0), (MOST.size, 1)])
def test_none_is_made_ahead_on_a_disk_that_has_no_room_for_what_one_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, made: int
) -> None:
    def disk_usage(_path: Path) -> SimpleNamespace:
        asked.append(free)
        return SimpleNamespace(free=free)

    asked: list[int] = []
    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with closing(Walls(tmp_path / "walls", MOST)) as walls:
        walls.keep_ready(1)
        wait_until(lambda: bool(asked))
        walls._maker.shutdown()
        assert len(mounted_below(tmp_path / "walls")) == made
