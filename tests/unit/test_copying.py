from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from worker.archives.copying import copy_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir(mode=0o700)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders_are_copied_for_any_user_to_read(source: Path, target: Path) -> None:
    (source / "empty").mkdir(mode=0o700)
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "data.bin").write_bytes(bytes(3_000_000))
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "deep" / "er" / "data.bin").chmod(0o600)
    (source / "run.sh").chmod(0o700)
    assert copy_folder(source, target) == ()
    assert (target / "deep" / "er" / "data.bin").read_bytes() == bytes(3_000_000)
    assert [mode(target / name) for name in ("", "empty", "deep/er")] == [0o755] * 3
    assert [mode(target / name) for name in ("deep/er/data.bin", "run.sh")] == [0o644, 0o755]


def test_a_copy_is_no_second_name(source: Path, target: Path) -> None:
    (source / "a").write_text("a")
    (source / "b").hardlink_to(source / "a")
    assert copy_folder(source, target) == ()
    assert {(target / name).stat().st_nlink for name in "ab"} == {1}


def test_what_leads_elsewhere_is_left_out_and_named(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("key")
    (source / "file link").symlink_to(tmp_path / "secret" / "key")
    (source / "folder link").symlink_to(tmp_path / "secret")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
    left_out = [str(entry) for entry in copy_folder(source, target)]
    assert left_out == [
        "file link: a symbolic link",
        "folder link: a symbolic link",
        "pipe: a FIFO",
        "socket: a socket",
    ]
    assert list(target.iterdir()) == []


def test_a_folder_with_a_bad_name_is_left_out_with_what_it_holds(source: Path, target: Path) -> None:
    (source / "a\nb").mkdir()
    (source / "a\nb" / "file").write_text("x")
    left_out = [str(entry) for entry in copy_folder(source, target)]
    assert left_out[0] == "a\\nb: a name with control characters or bytes that are not UTF-8"
    assert left_out[1] == "a\\nb/file: in a folder with a bad name"
    assert list(target.iterdir()) == []


def test_a_link_in_the_place_of_the_source_is_not_followed(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(OSError, match="Not a directory"):
        copy_folder(tmp_path / "link", target)
