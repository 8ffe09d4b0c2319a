from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from worker.archives import pack as pack_room
from worker.archives.left_out import LeftOut
from worker.archives.pack import pack
from worker.archives.unpack import ArchiveLimits, unpack
from worker.archives.walk import Found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "out.zip"


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def test_files_and_empty_folders_in_order(out: Path, archive: Path) -> None:
    (out / "b" / "empty").mkdir(parents=True)
    (out / "b" / "x.txt").write_text("x")
    (out / "a.txt").write_text("a")
    (out / "c").mkdir()
    assert pack(out, archive) == ()
    assert list(contents(archive).items()) == [("a.txt", b"a"), ("b/empty/", b""), ("b/x.txt", b"x"), ("c/", b"")]


def test_what_is_packed_unpacks_the_same(out: Path, archive: Path, tmp_path: Path) -> None:
    (out / "grüße").mkdir()
    (out / "grüße" / "run.sh").write_bytes(b"#!/bin/sh\n" * 5000)
    (out / "grüße" / "run.sh").chmod(0o755)
    (out / "noise").write_bytes(os.urandom(600_000))
    pack(out, archive)
    unpack(archive, tmp_path / "again", limits=ArchiveLimits(10**7, 100))
    for name in ("grüße/run.sh", "noise"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    assert stat.S_IMODE((tmp_path / "again" / "grüße" / "run.sh").stat().st_mode) == 0o755


def test_only_what_shrinks_is_deflated(out: Path, archive: Path) -> None:
    (out / "noise").write_bytes(os.urandom(100_000))
    (out / "zeros").write_bytes(bytes(100_000))
    pack(out, archive)
    with zipfile.ZipFile(archive) as opened:
        assert opened.getinfo("noise").compress_type == zipfile.ZIP_STORED
        assert opened.getinfo("zeros").compress_size < 2000


def test_links_and_special_files_are_left_out_by_name(out: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "folder-link").symlink_to(tmp_path)
    os.mkfifo(out / "fifo")
    (out / "bad\nname").touch()
    left_out = {item.name: item.reason for item in pack(out, archive)}
    assert contents(archive) == {}
    assert left_out.keys() == {"link", "folder-link", "fifo", r"bad\nname"}
    assert left_out["link"] == "a symbolic link"


def test_a_folder_with_a_bad_name_spoils_what_it_holds(out: Path, archive: Path) -> None:
    folder = out / os.fsdecode(b"bad\xff")
    folder.mkdir()
    (folder / "file").touch()
    assert pack(out, archive) == (LeftOut(r"bad\udcff/file", "in a folder with a bad name"),)
    assert contents(archive) == {}


def test_names_at_the_top_can_be_passed_over(out: Path, archive: Path) -> None:
    (out / "private" / "inner").mkdir(parents=True)
    (out / "private" / "key").write_text("x")
    (out / "sub" / "private").mkdir(parents=True)
    assert pack(out, archive, leave_out={"private"}) == ()
    assert list(contents(archive)) == ["sub/private/"]


def test_the_workers_own_files_win(out: Path, archive: Path) -> None:
    (out / "metadata").write_text("exitCode: 0")
    assert pack(out, archive, extra={"metadata": b"exitCode: 1"}) == (
        LeftOut("metadata", "the worker writes a file of that name itself"),
    )
    assert contents(archive) == {"metadata": b"exitCode: 1"}


def test_what_does_not_fit_is_left_out(out: Path, archive: Path) -> None:
    for name, size in {"a": 60, "b": 60, "c": 40}.items():
        (out / name).write_bytes(bytes(size))
    assert [item.name for item in pack(out, archive, limit=100)] == ["b"]
    assert list(contents(archive)) == ["a", "c"]


@pytest.mark.parametrize(("seconds", "year"), [(0, 1980), (10**11, 2107), (-(10**9), 1980), (1_600_000_000, 2020)])
def test_any_time_of_a_file_is_fine(out: Path, archive: Path, seconds: int, year: int) -> None:
    (out / "f").touch()
    os.utime(out / "f", (seconds, seconds))
    pack(out, archive)
    with zipfile.ZipFile(archive) as opened:
        assert opened.getinfo("f").date_time[0] == year


def test_paths_beyond_what_anybody_could_open_are_left_out(out: Path, archive: Path) -> None:
    handle = os.open(out, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=handle)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("f", os.O_CREAT, dir_fd=handle))
    os.close(handle)
    assert [item.reason for item in pack(out, archive)] == ["a path that is too long"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/".join(["d"] * 63 + ["f"]), ""),
        ("/".join(["d"] * 64 + ["f"]), "a path that is too long"),
        ("/".join(["d" * 200] * 5 + ["f" * 19]), ""),
        ("/".join(["d" * 200] * 5 + ["f" * 20]), "a path that is too long"),
        ("..\\evil", "a name with a backslash"),
        ("a\\b/good", "a name with a backslash"),
    ],
)
def test_nothing_is_packed_that_would_not_be_unpacked(
    out: Path, archive: Path, tmp_path: Path, name: str, reason: str
) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).touch()
    assert [item.reason for item in pack(out, archive)] == ([reason] if reason else [])
    unpack(archive, tmp_path / "again", limits=ArchiveLimits(1000, 1000))
    assert (tmp_path / "again" / name).exists() is not bool(reason)


def test_a_file_that_vanishes_is_passed_over(out: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (out / "f").touch()
    monkeypatch.setattr(Found, "open_file", lambda _: os.open(out / "gone", os.O_RDONLY))
    assert pack(out, archive) == ()
    assert contents(archive) == {}


def test_a_link_that_takes_a_files_place_is_not_opened(
    out: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("key")
    (out / "f").touch()
    real = Found.open_file

    def swapped(found: Found) -> int:
        (out / "f").unlink()
        (out / "f").symlink_to(tmp_path / "secret")
        return real(found)

    monkeypatch.setattr(Found, "open_file", swapped)
    assert pack(out, archive) == (LeftOut("f", "may not be read"),)
    assert contents(archive) == {}


def test_growing_and_shrinking_files_are_packed_as_far_as_they_went(out: Path, archive: Path) -> None:
    (out / "f").write_bytes(b"0123456789")
    with (out / "f").open("rb") as file:
        assert b"".join(pack_room._pieces(file, 4)) == b"0123"
        assert b"".join(pack_room._pieces(file, 100)) == b"456789"
    assert pack(out, archive) == ()


def test_a_file_that_cannot_be_read_to_its_end_is_told(
    out: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "f").write_bytes(b"x")

    def broken(*_: object) -> object:
        yield b"x"
        raise pack_room._ReadError

    monkeypatch.setattr(pack_room, "_pieces", broken)
    assert pack(out, archive) == (LeftOut("f", "could not be read to its end"),)
    assert contents(archive) == {"f": b"x"}


def test_a_full_disk_is_not_the_containers_affair(out: Path) -> None:
    (out / "f").write_bytes(os.urandom(100_000))
    with pytest.raises(OSError, match="No space left"):
        pack(out, Path("/dev/full"))


def test_without_compression_bytes_stay_as_they_are(out: Path, archive: Path) -> None:
    (out / "zeros").write_bytes(bytes(100_000))
    assert pack(out, archive, compress=False) == ()
    with zipfile.ZipFile(archive) as opened:
        assert opened.getinfo("zeros").compress_type == zipfile.ZIP_STORED
        assert opened.read("zeros") == bytes(100_000)
