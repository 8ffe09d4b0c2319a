"""How workers that share a cache know how much room is left in it, without looking at all that lies there each time."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from worker.bundles import shelf
from worker.bundles.shelf import Shelf
from worker.storage.version import Version

pytestmark = pytest.mark.integration
SIZE, MOST = 1000, 5000
VERSION = Version('"1"', "")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each look at all that lies there."""
    seen: list[Path] = []
    listed = shelf._listed

    def look(folder: Path) -> object:
        seen.append(folder)
        return listed(folder)

    monkeypatch.setattr(shelf, "_listed", look)
    return seen


def put(into: Shelf, folder: Path, *numbers: int) -> None:
    for number in numbers:
        file = folder / "download"
        file.write_bytes(bytes([number]) * SIZE)
        assert into.put(key(number), file, VERSION)
        file.unlink()


def key(number: int) -> str:
    return hashlib.sha256(bytes([number])).hexdigest()


def held(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "bundles").glob("*.*") if path.suffix != ".json")


def test_who_has_room_does_not_look_and_workers_count_each_others_bundles(tmp_path: Path, looks: list[Path]) -> None:
    one, other = Shelf(tmp_path, MOST), Shelf(tmp_path, MOST)
    for number in (0, 2):
        put(one, tmp_path, number)
        put(other, tmp_path, number + 1)
    put(one, tmp_path, 4)
    assert (len(looks), held(tmp_path)) == (1, MOST)
    put(other, tmp_path, 5)
    assert (len(looks), held(tmp_path)) == (2, MOST)
    assert other.find(key(0)) is None
    assert other.find(key(5))


def test_the_same_bundle_again_takes_no_room(tmp_path: Path, looks: list[Path]) -> None:
    one = Shelf(tmp_path, MOST)
    put(one, tmp_path, *[0] * 10, 1, 2, 3, 4)
    assert (len(looks), held(tmp_path)) == (1, MOST)


def test_a_full_cache_of_many_is_cleared_ahead_and_not_looked_at_for_each(tmp_path: Path, looks: list[Path]) -> None:
    many = 64 * 3
    one = Shelf(tmp_path, many * SIZE)
    put(one, tmp_path, *range(many))
    assert (len(looks), held(tmp_path)) == (1, many * SIZE)
    put(one, tmp_path, many)
    assert (len(looks), held(tmp_path)) == (2, (many - 3) * SIZE)
    put(one, tmp_path, *range(many + 1, many + 4))
    assert (len(looks), held(tmp_path)) == (2, many * SIZE)


def test_a_smaller_cache_from_now_on_is_looked_at_anew(tmp_path: Path, looks: list[Path]) -> None:
    put(Shelf(tmp_path, MOST), tmp_path, 0, 1, 2, 3)
    put(Shelf(tmp_path, 2 * SIZE), tmp_path, 4)
    assert (len(looks), held(tmp_path)) == (2, 2 * SIZE)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff{",
        b"[]",
        b'{"most": 5000}',
        b'{"most": 5000, "looked": null, "spare": 1}',
        json.dumps({"most": MOST, "looked": time.time(), "spare": 10**400}).encode(),
        json.dumps({"most": MOST, "looked": time.time() - 7200, "spare": MOST}).encode(),
        json.dumps({"most": MOST, "looked": time.time() + 7200, "spare": MOST}).encode(),
    ],
    ids=["empty", "no text", "a list", "too little", "no number", "no number that there is", "old", "to come"],
)
def test_a_note_that_cannot_be_believed_is_none(tmp_path: Path, looks: list[Path], note: bytes) -> None:
    one = Shelf(tmp_path, MOST)
    put(one, tmp_path, 0, 1, 2, 3, 4)
    (tmp_path / "bundles" / "lock").write_bytes(note)
    put(one, tmp_path, 5)
    assert (len(looks), held(tmp_path)) == (2, MOST)
