from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.archives import walk
from worker.archives.left_out import LeftOut
from worker.archives.tree import remove_tree, sanitise
from worker.archives.walk import Step


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    remove_tree(folder)  # pytest's own removal may not look into folders of mode 0


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def reasons(left_out: tuple[LeftOut, ...]) -> dict[str, str]:
    return {item.name: item.reason for item in left_out}


def test_walk_meets_folders_before_and_after_what_they_hold(out: Path) -> None:
    (out / "b").mkdir()
    (out / "b" / "y").touch()
    (out / "b" / "x").touch()
    (out / "a").touch()
    steps = [(found.step, found.path) for found in walk.walk(out)]
    assert steps == [
        (Step.LEAF, "a"),
        (Step.ENTER, "b"),
        (Step.LEAF, "b/x"),
        (Step.LEAF, "b/y"),
        (Step.LEAVE, "b"),
    ]


def test_walk_refuses_a_link_at_its_top(out: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(OSError, match=r"Not a directory|Too many"):
        list(walk.walk(tmp_path / "link"))


def test_walk_passes_over_what_vanishes(out: Path) -> None:
    for name in ("a", "b", "c"):
        (out / name).mkdir()
    seen = []
    for found in walk.walk(out):
        seen.append((found.step, found.name))
        if found.name == "a" and found.step is Step.ENTER:
            (out / "a").rmdir()
            (out / "b").rmdir()
    assert seen == [(Step.ENTER, "a"), (Step.ENTER, "c"), (Step.LEAVE, "c")]


def test_walk_does_not_enter_a_link_that_takes_a_folders_place(out: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").touch()
    (out / "a").mkdir()
    seen = []
    for found in walk.walk(out):
        seen.append(found.path)
        (out / "a").rmdir()
        (out / "a").symlink_to(tmp_path / "secret")
    assert seen == ["a"]


def test_walk_stops_where_a_folder_is_moved_out_from_under_it(out: Path, tmp_path: Path) -> None:
    (out / "a" / "b").mkdir(parents=True)
    (out / "a" / "b" / "f").touch()

    def go() -> None:
        for found in walk.walk(out):
            if found.name == "f":
                (out / "a" / "b").rename(tmp_path / "moved")

    with pytest.raises(OSError, match="moved while it was walked"):
        go()


def test_sanitise_takes_out_all_but_files_and_folders(out: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    (out / "good").mkdir()
    (out / "good" / "file").write_text("kept")
    (out / "link").symlink_to(secret)
    (out / "good" / "up").symlink_to("..")
    (out / "dangling").symlink_to("nowhere")
    os.mkfifo(out / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(out / "socket"))
    left_out = reasons(sanitise(out))
    assert left_out == {
        "dangling": "a symbolic link",
        "fifo": "a FIFO",
        "good/up": "a symbolic link",
        "link": "a symbolic link",
        "socket": "a socket",
    }
    assert listing(out) == ["good", "good/file"]
    assert secret.read_text() == "key"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_sanitise_takes_out_devices(out: Path) -> None:
    os.mknod(out / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert reasons(sanitise(out)) == {"null": "a device"}


def test_sanitise_takes_out_hard_links_to_elsewhere_only(out: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    os.link(tmp_path / "secret", out / "a")
    os.link(tmp_path / "secret", out / "b")
    (out / "mine").write_text("x")
    os.link(out / "mine", out / "mine too")
    assert reasons(sanitise(out)) == dict.fromkeys(["a", "b"], "a hard link to a file elsewhere")
    assert listing(out) == ["mine", "mine too"]
    assert (tmp_path / "secret").read_text() == "key"


def test_a_link_to_what_was_itself_taken_out_stays(out: Path) -> None:
    (out / "good").write_text("x")
    os.link(out / "good", out / "bad\nname")
    assert reasons(sanitise(out)) == {r"bad\nname": "a name with control characters or bytes that are not UTF-8"}
    assert listing(out) == ["good"]


def test_sanitise_takes_out_bad_names_with_all_they_hold(out: Path) -> None:
    (out / os.fsdecode(b"bad\xff") / "inner").mkdir(parents=True)
    (out / "esc\x1b[2Jape").write_text("x")
    (out / "grüße 漢字").touch()
    assert set(reasons(sanitise(out))) == {r"bad\udcff", r"esc\x1b[2Jape"}
    assert listing(out) == ["grüße 漢字"]


def test_sanitise_makes_the_rest_readable_and_harmless(out: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").touch(mode=0o600)
    (out / "locked").mkdir()
    (out / "locked" / "file").touch()
    (out / "locked" / "file").chmod(0)
    (out / "locked").chmod(0)
    (out / "setuid").touch()
    (out / "setuid").chmod(0o6711)
    (out / "link").symlink_to(tmp_path / "outside")
    out.chmod(0o300)
    sanitise(out)
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    assert modes == {
        "outside": 0o600,
        "out": 0o755,
        "out/locked": 0o555,
        "out/locked/file": 0o444,
        "out/setuid": 0o755,
    }


def test_what_was_left_out_is_bounded_and_printable(out: Path) -> None:
    for number in range(60):
        (out / f"{number:03}{'x' * 230}\x07").touch()
    left_out = sanitise(out)
    assert len(left_out) == 51
    assert str(left_out[-1]) == "10 more: likewise left out, not named here"
    assert all(len(str(item)) < 300 and str(item).isprintable() for item in left_out)


def test_sanitise_refuses_a_link_in_the_folders_place(out: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(OSError, match=r"Not a directory|Too many"):
        sanitise(tmp_path / "link")


def test_remove_tree_follows_nothing(out: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (out / "link").symlink_to(tmp_path / "kept")
    os.mkfifo(out / "fifo")
    (out / "locked" / "inner").mkdir(parents=True)
    (out / "locked").chmod(0)
    out.chmod(0)
    remove_tree(out)
    assert listing(tmp_path) == ["kept", "kept/file"]


def test_remove_tree_of_nothing_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never")


def test_remove_tree_takes_a_link_or_file_itself(out: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    (tmp_path / "file").touch()
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "file")
    assert listing(tmp_path) == ["out"]


def test_remove_tree_outlasts_a_program_that_still_writes(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = iter(["one", "two"])
    rmdir = os.rmdir

    def write_first(name: str, *, dir_fd: int | None = None) -> None:
        for new in late:
            (out / new).touch()
            break
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", write_first)
    remove_tree(out)
    assert not out.exists()


def test_remove_tree_says_so_where_something_stays(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (out / "file").touch()

    def refuse(name: str, *, dir_fd: int | None = None) -> None:
        raise PermissionError(13, "no", name, dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        remove_tree(out)
