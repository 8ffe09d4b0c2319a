import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sandbox.engine import Stream
from sandbox.logs import CappedLog, LogPair, size


def test_it_can_be_read_while_it_grows(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 100)
    log.write(b"one ")
    assert log.path.read_bytes() == b"one "
    log.write(b"two")
    assert log.path.read_bytes() == b"one two"
    log.close()
    assert log.path.read_bytes() == b"one two"
    assert log.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("pieces", [[b"a" * 25], [b"a" * 10, b"a" * 15], [b"a" * 9, b"a" * 2, b"a" * 14]])
def test_past_the_limit_it_counts(tmp_path: Path, pieces: list[bytes]) -> None:
    log = CappedLog(tmp_path / "log", 10)
    for piece in pieces:
        log.write(piece)
    assert log.path.read_bytes() == b"a" * 10
    log.close()
    assert log.path.read_bytes() == b"a" * 10 + b"\n[... 15 B more were dropped: a log may hold 10 B]\n"
    assert (log.kept, log.dropped) == (10, 15)


def test_exactly_the_limit_drops_nothing(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 3)
    log.write(b"abc")
    log.write(b"")
    log.close()
    assert log.path.read_bytes() == b"abc"


def test_the_head_is_kept_for_whoever_judges(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 1)
    log.write(b"a" * 300)
    log.write(b"b" * 300)
    log.close()
    assert log.head == b"a" * 300 + b"b" * 212


def test_closing_twice_and_writing_late_are_harmless(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 10)
    log.close()
    log.close()
    log.write(b"late")
    assert log.path.read_bytes() == b""


def test_a_full_disk_ends_the_log_and_not_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CappedLog(tmp_path / "log", 100)
    log.write(b"before ")
    real = os.write

    def full(descriptor: int, data: Any) -> int:
        if len(data) > 4:
            return real(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    log.write(b"12345678")
    monkeypatch.setattr(os, "write", real)
    log.write(b"after")
    log.close()
    assert (log.kept, log.dropped) == (11, 9)
    assert log.path.read_bytes().startswith(b"before 1234\n[... 9 B more were dropped")


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_what_stands_in_its_place_is_never_written_through(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "log", tmp_path / "target"
    if kind == "file":
        path.write_bytes(b"theirs")
    else:
        path.symlink_to(target)
    if kind == "link":
        target.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        CappedLog(path, 10)
    assert kind != "dangling" or not target.exists()


def test_a_pair_keeps_the_streams_apart_and_closes_both(tmp_path: Path) -> None:
    with LogPair.at(tmp_path / "out", tmp_path / "err", limit=2) as logs:
        logs.write(Stream.STDOUT, b"out")
        logs.write(Stream.STDERR, b"er")
    assert (tmp_path / "out").read_bytes().startswith(b"ou\n[... 1 B more")
    assert (tmp_path / "err").read_bytes() == b"er"


def test_a_pair_that_cannot_be_made_leaves_nothing_open(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    (tmp_path / "err").touch()
    with pytest.raises(FileExistsError):
        LogPair.at(tmp_path / "out", tmp_path / "err", limit=2)
    assert set(Path("/proc/self/fd").iterdir()) <= before


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (12_900_000, "12.3 MiB"), (10 << 20, "10 MiB"), (3 << 40, "3 TiB")],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert size(count) == text


def test_a_replay_adds_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = CappedLog(path, 100)
    first.write(b"one two ")
    again = CappedLog(path, 100, new=False)
    again.replay()
    for piece in (b"one", b" two thr", b"ee"):
        again.write(piece)
    again.close()
    assert path.read_bytes() == b"one two three"
    assert again.head == b"one two three"


def test_a_replay_that_does_not_meet_what_is_there_says_so(tmp_path: Path) -> None:
    log = CappedLog(tmp_path / "log", 1000)
    log.write(b"one two ")
    log.replay()
    log.write(b"nine ten")
    log.close()
    assert log.path.read_bytes() == (
        b"one two \n[... some output may be missing here: it was written while nobody read it]\nnine ten"
    )


def test_a_replay_of_a_log_that_was_full_counts_anew_what_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = CappedLog(path, 4)
    first.write(b"123456")
    first.close()  # with its marker
    again = CappedLog(path, 4, new=False)
    again.replay()
    again.write(b"12345678")
    again.close()
    assert path.read_bytes() == b"1234\n[... 4 B more were dropped: a log may hold 4 B]\n"
