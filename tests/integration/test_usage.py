"""Measuring folders that somebody hostile writes to."""

import os
import stat
import threading
from pathlib import Path

import pytest

from sandbox.usage import Usage, measure, on_disk
from worker.archives.tree import remove_tree

EVERYTHING = Usage(1 << 62, 1 << 62)


def deep(top: Path, levels: int) -> int:
    """So many folders in each other; a descriptor of the last."""
    handle = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    return handle


def write(handle: int, name: str, size: int) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=handle)
    os.truncate(file, size)
    os.close(file)


def test_every_name_counts_and_every_byte_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(1000))
    os.link(tmp_path / "folder" / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert measure([tmp_path]) == Usage(2 * 1000 + len("/etc") + (1 << 40), 6)
    assert measure([tmp_path / "folder", tmp_path / "missing", tmp_path / "link"]) == Usage(1000, 1)


def test_on_disk_holes_take_nothing_and_a_file_is_one_whatever_its_names(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    for number in range(9):
        os.link(tmp_path / "file", tmp_path / str(number))
    # each of its ten names rounds down
    assert (1 << 20) - 10 <= measure([tmp_path], sizer=on_disk).size < 1 << 21


def test_levels_without_end_are_all_counted(tmp_path: Path) -> None:
    handle = deep(tmp_path, 3000)
    write(handle, "last", 10)
    os.close(handle)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert measure([tmp_path]) == Usage(10, 3001)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before  # fewer where somebody else's was collected meanwhile
    remove_tree(tmp_path / "d")  # pytest's own removal is no match for it, and would fail in later sessions


def test_what_lies_on_the_way_back_from_the_deep_is_counted_too(tmp_path: Path) -> None:
    handle = deep(tmp_path, 100)
    for name in ("x", "y", "z"):
        os.mkdir(name, dir_fd=handle)
        inner = os.open(name, os.O_RDONLY, dir_fd=handle)
        write(inner, "file", 1)
        os.close(inner)
    os.close(handle)
    assert measure([tmp_path]) == Usage(3, 106)


def test_counting_ends_where_it_is_more_than_enough(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).write_bytes(bytes(10))
    assert measure([tmp_path], most=Usage(1 << 30, 20)).names == 21
    assert measure([tmp_path], most=Usage(55, 1000)).size == 60
    assert measure([tmp_path], most=EVERYTHING) == Usage(1000, 100)
    assert measure([tmp_path], stopped=lambda: True).names <= 100


def test_a_folder_that_may_not_be_looked_into_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").write_bytes(bytes(5))
    real = os.open

    def refusing(path: str, *rest: int, dir_fd: int | None = None) -> int:
        if path == "closed":  # root may open everything
            raise PermissionError
        return real(path, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)
    assert measure([tmp_path]) == Usage(5, 2)


def test_folders_moved_about_hide_nothing_that_stays(tmp_path: Path) -> None:
    """A program moves folders away from under the walk; what lies still beside them is counted all the same."""
    for name in ("a", "b", "still"):
        (tmp_path / name).mkdir()
    (tmp_path / "still" / "file").write_bytes(bytes(7))
    handle = deep(tmp_path / "a", 80)
    os.close(handle)
    ended = threading.Event()

    def move() -> None:
        while not ended.is_set():
            (tmp_path / "a" / "d").rename(tmp_path / "b" / "d")
            (tmp_path / "b" / "d").rename(tmp_path / "a" / "d")

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(200):
            found = measure([tmp_path])
            assert found.size == 7
            assert 4 <= found.names <= 84 + 80
    finally:
        ended.set()
        mover.join()


def test_a_link_put_in_the_place_of_a_folder_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big").write_bytes(bytes(1000))
    (tmp_path / "run" / "link").symlink_to(tmp_path / "elsewhere")
    assert stat.S_ISLNK((tmp_path / "run" / "link").lstat().st_mode)
    assert measure([tmp_path / "run"]) == Usage(len(str(tmp_path / "elsewhere")), 1)
