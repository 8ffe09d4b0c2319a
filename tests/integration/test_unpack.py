from __future__ import annotations

import io
import itertools
import os
import stat
import struct
import tempfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.archives import expanding
from worker.archives.unpack import ArchiveLimits, BadArchive, is_archive, unpack
from worker.archives.zip_directory import Entry

PLENTY = ArchiveLimits(bytes=10_000_000, entries=1000)


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zipped_info(info: zipfile.ZipInfo, data: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, data)
    return buffer.getvalue()


def special(name: str, kind: int) -> bytes:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return zipped_info(info, b"/etc/passwd")


def unpacked(tmp_path: Path, data: bytes, limits: ArchiveLimits = PLENTY) -> Path:
    archive, target = tmp_path / "a.zip", tmp_path / "out"
    archive.write_bytes(data)
    unpack(archive, target, limits=limits)
    return target


def refusal(tmp_path: Path, data: bytes, limits: ArchiveLimits = PLENTY) -> str:
    with pytest.raises(BadArchive) as caught:
        unpacked(tmp_path, data, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]
    return str(caught.value)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("data", [b"", b"a", b"tiny" * 100, os.urandom(300_000), bytes(1_000_000)])
def test_every_usual_method_round_trips(tmp_path: Path, method: int, data: bytes) -> None:
    assert tree(unpacked(tmp_path, zipped({"d/f": data}, method))) == {"d/f": data}


def test_modes_are_plain_but_for_the_executable_bit(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode in {"plain": 0o100600, "run": 0o100700, "setuid": 0o104777, "locked": 0o100000}.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"")
        folder = zipfile.ZipInfo("folder/")
        folder.external_attr = 0o40000 << 16
        archive.writestr(folder, b"")
    previous = os.umask(0o077)
    try:
        out = unpacked(tmp_path, buffer.getvalue())
    finally:
        os.umask(previous)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert modes == {"plain": 0o644, "run": 0o755, "setuid": 0o755, "locked": 0o644, "folder": 0o755}
    assert stat.S_IMODE(out.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "leads out of it"),
        ("a/../../evil", "leads out of it"),
        ("..", "leads out of it"),
        ("/etc/passwd", "absolute path"),
        ("..\\evil", "backslash"),
        ("line\nbreak", "control character"),
        ("a/" * 65 + "f", "too long"),
        ("n" * 256, "too long"),
        ("ü" * 128, "too long"),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, name: str, words: str) -> None:
    assert words in refusal(tmp_path, zipped({name: b"x"}))


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    data = zipped({"a_b": b"x"}).replace(b"a_b", b"a\0b")
    assert "control character" in refusal(tmp_path, data)


def test_names_that_say_they_are_utf8_must_be(tmp_path: Path) -> None:
    data = zipped({"ü": b"x"}).replace("ü".encode(), b"\xfc\xfc")
    assert "not UTF-8" in refusal(tmp_path, data)


def test_names_without_the_utf8_flag_are_read_as_what_they_are(tmp_path: Path) -> None:
    utf8 = zipped({"__": b"x"}).replace(b"__", "ü".encode())
    assert tree(unpacked(tmp_path, utf8)) == {"ü": b"x"}
    (tmp_path / "other").mkdir()
    old = zipped({"_.txt": b"x"}).replace(b"_.txt", b"\x81.txt")
    assert tree(unpacked(tmp_path / "other", old)) == {"ü.txt": b"x"}


def test_dots_and_doubled_slashes_are_harmless(tmp_path: Path) -> None:
    assert tree(unpacked(tmp_path, zipped({"./": b"", "./a//b": b"x"}))) == {"a/b": b"x"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    words = "symbolic link" if kind == stat.S_IFLNK else "special file"
    assert words in refusal(tmp_path, special("x", kind))


def test_names_are_refused_twice_but_folders_may_repeat(tmp_path: Path) -> None:
    data = zipped({"same": b"1", "copy": b"2"}).replace(b"copy", b"same")
    assert "a name twice (same)" in refusal(tmp_path, data)
    assert tree(unpacked(tmp_path, zipped({"d/a": b"1", "d/": b"", "d/b": b"2"}))) == {"d/a": b"1", "d/b": b"2"}


def test_names_that_differ_in_case_are_two_names(tmp_path: Path) -> None:
    assert tree(unpacked(tmp_path, zipped({"A": b"1", "a": b"2"}))) == {"A": b"1", "a": b"2"}


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"a/b": b"", "a": b""}])
def test_a_name_cannot_be_file_and_folder(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert "a" in refusal(tmp_path, zipped(files))


def test_encryption_is_named(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"secret"}))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    assert refusal(tmp_path, bytes(data)) == "is encrypted"


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"x"}))
    data[data.index(b"PK\1\2") + 10] = 9  # Deflate64, as Windows makes for large files
    assert "compression method 9" in refusal(tmp_path, bytes(data))


@pytest.mark.parametrize("keep", [0, 3, 4, 30, 100, -1, -22])
def test_truncation_is_damage(tmp_path: Path, keep: int) -> None:
    data = zipped({"a": os.urandom(200)})
    assert "damaged" in refusal(tmp_path, data[:keep])


def test_a_flipped_bit_is_damage(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": bytes(100)}, zipfile.ZIP_STORED))
    data[60] ^= 1
    assert "damaged" in refusal(tmp_path, bytes(data))


LARGE = ArchiveLimits(bytes=100_000_000, entries=100)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_large_files_side_by_side_come_out_the_same(tmp_path: Path, method: int) -> None:
    files = {f"{number}/data": bytes([number]) * (1_500_000 + number) for number in range(12)}
    files["between"] = b"small"
    assert tree(unpacked(tmp_path, zipped(files, method), LARGE)) == files


@pytest.mark.parametrize("damaged", [0, 3, 11])
def test_damage_in_one_of_several_large_files_is_refused(tmp_path: Path, damaged: int) -> None:
    data = zipped({str(number): bytes([number]) * 1_500_000 for number in range(12)}, zipfile.ZIP_STORED)
    at = data.index(bytes([damaged]) * 1000) + 500
    reason = refusal(tmp_path, data[:at] + b"?" + data[at + 1 :], LARGE)
    assert reason == f"is damaged or cut short ({damaged})"


def test_large_files_are_expanded_side_by_side_and_broken_off_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is no good; the first would go on for ever, but that it is told."""
    together = threading.Barrier(2, timeout=60)

    def content(_handle: int, entry: Entry, _start: int) -> Iterator[bytes]:
        together.wait()
        if entry.parts == ("2",):
            raise BadArchive("is no good")
        yield from itertools.repeat(b"")

    monkeypatch.setattr(expanding, "_AT_ONCE", 2)
    monkeypatch.setattr(expanding, "content", content)
    assert refusal(tmp_path, zipped({name: bytes(1_500_000) for name in "12"}), LARGE) == "is no good"


def test_the_claimed_size_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": bytes(100_000)}))
    struct.pack_into("<L", data, data.index(b"PK\1\2") + 24, 10)
    assert "damaged" in refusal(tmp_path, bytes(data))


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    files = {"a": bytes(60), "d/b": bytes(40)}
    assert tree(unpacked(tmp_path, zipped(files), ArchiveLimits(bytes=100, entries=3))) == files


@pytest.mark.parametrize(
    "files", [{f"f{i}": b"" for i in range(4)}, {"a/b/c/d": b""}, {"a/": b"", "a/b/": b"", "c/": b"", "d/": b""}]
)
def test_too_many_files_and_folders(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert "more than 3 files" in refusal(tmp_path, zipped(files), ArchiveLimits(bytes=100, entries=3))


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"aa": b"x" * 100, "bb": b"y" * 100}, zipfile.ZIP_STORED))
    directory = data.index(b"PK\1\2")
    swallowed = bytes(data[32:directory])  # the first entry's bytes, and all of the second entry
    struct.pack_into("<3L", data, directory + 16, zlib.crc32(swallowed), len(swallowed), len(swallowed))
    assert refusal(tmp_path, bytes(data)) == "holds entries that overlap"


def test_two_names_for_one_entry_are_refused(tmp_path: Path) -> None:
    data = zipped({"a": b"x" * 100})
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    record = bytearray(data[end:])
    struct.pack_into("<HHL", record, 8, 2, 2, 2 * (end - start))
    assert "twice" in refusal(tmp_path, data[:start] + data[start:end] * 2 + bytes(record))


def test_zip64_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("big", "w", force_zip64=True) as file:
        file.write(b"data")
    data = buffer.getvalue()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, end - start, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert tree(unpacked(tmp_path, data[:end] + record + locator + last)) == {"big": b"data"}


def test_offsets_beyond_any_file_are_damage(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"x"}))
    struct.pack_into("<L", data, data.index(b"PK\1\2") + 42, 0xFFFFFFFE)
    assert "damaged" in refusal(tmp_path, bytes(data))


def test_one_part_of_several_is_told(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"x"}))
    data[data.index(b"PK\5\6") + 4] = 1
    assert refusal(tmp_path, bytes(data)) == "is one part of several"


def test_an_archive_comment_is_fine(tmp_path: Path) -> None:
    buffer = io.BytesIO(zipped({"a": b"x"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"c" * 60000
    assert tree(unpacked(tmp_path, buffer.getvalue())) == {"a": b"x"}


def test_an_empty_archive_is_an_empty_folder(tmp_path: Path) -> None:
    assert list(unpacked(tmp_path, zipped({})).iterdir()) == []


def test_a_lone_folder_with_metadata_is_lifted(tmp_path: Path) -> None:
    junk = {"__MACOSX/prog/._metadata": b"junk", "__MACOSX/._prog": b"junk", ".DS_Store": b"junk"}
    out = unpacked(tmp_path, zipped({"prog/metadata": b"command: x", "prog/prog/f": b"1", **junk}))
    assert tree(out) == {"metadata": b"command: x", "prog/f": b"1"}


@pytest.mark.parametrize(
    "files", [{"prog/run.py": b""}, {"prog/metadata": b"", "other": b""}, {"prog/metadata/x": b""}]
)
def test_other_folders_stay_where_they_are(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert tree(unpacked(tmp_path, zipped(files))) == files


def test_archives_at_the_top_become_folders(tmp_path: Path) -> None:
    inner = zipped({"x": b"1", "deeper.zip": zipped({"y": b"2"})})
    out = unpacked(tmp_path, zipped({"ref.ZIP": inner, "sub/stays.zip": inner, "text.zip": b"no archive"}))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "ref/deeper.zip",
        "ref/x",
        "sub/stays.zip",
        "text.zip",
    ]


@pytest.mark.parametrize("name", [".zip", "..zip", "...zip"])
def test_an_inner_archive_cannot_name_its_way_out(tmp_path: Path, name: str) -> None:
    assert list(tree(unpacked(tmp_path, zipped({name: zipped({"evil": b""})})))) == [name]


def test_inner_archives_share_the_limits(tmp_path: Path) -> None:
    inner = zipped({"x": bytes(5000)})
    assert "more than 7.8 KiB" in refusal(
        tmp_path, zipped({"a.zip": inner, "b.zip": inner}), ArchiveLimits(bytes=8000, entries=100)
    )


def test_a_bad_inner_archive_is_named(tmp_path: Path) -> None:
    inner = zipped({"x": b"1"})[:-5]
    assert refusal(tmp_path, zipped({"ref.zip": inner})) == "holds an archive that is damaged or cut short (ref.zip)"


def test_an_inner_archive_does_not_overwrite(tmp_path: Path) -> None:
    assert "both an archive and what that would be unpacked to (ref.zip)" in refusal(
        tmp_path, zipped({"ref.zip": zipped({}), "ref/x": b""})
    )


def test_a_target_that_exists_is_left_alone(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({"a": b"x"}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(FileExistsError):
        unpack(archive, tmp_path / "out", limits=PLENTY)
    assert (tmp_path / "out" / "mine").exists()


def test_archives_are_told_by_content(tmp_path: Path) -> None:
    for name, data, expected in [("a", zipped({"x": b""}), True), ("b.zip", b"text", False), ("c", b"", False)]:
        (tmp_path / name).write_bytes(data)
        assert is_archive(tmp_path / name) is expected


part = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=12
)
parts = st.lists(part.filter(lambda text: text not in {".", ".."}), min_size=1, max_size=4)


@given(files=st.dictionaries(parts.map("/".join), st.binary(max_size=300), max_size=8))
def test_what_zipfile_packs_comes_out_the_same(files: dict[str, bytes]) -> None:
    kept: dict[str, bytes] = {}
    for name, data in ((f"x{name}", data) for name, data in files.items()):  # none is a lone folder or junk
        if not any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in kept):
            kept[name] = data  # none is both a file and a folder
    with tempfile.TemporaryDirectory() as folder:
        assert tree(unpacked(Path(folder), zipped({"keep": b"", **kept}))) == {"keep": b"", **kept}


hostile_part = st.sampled_from(["..", ".", "", "a", "A", "b.zip", "metadata", "n" * 256, "\\", "c\n", "ü"]) | part
kinds = st.sampled_from([0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])


@given(st.lists(st.tuples(st.lists(hostile_part, max_size=2).map("/".join), kinds, st.integers(0, 0o7777)), max_size=3))
def test_whatever_names_and_modes_an_archive_has_only_plain_files_arrive_and_inside(
    entries: list[tuple[str, int, int]],
) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile dislikes names that come twice
        for name, kind, mode in entries:
            info = zipfile.ZipInfo(name or "/")
            info.external_attr = (kind | mode) << 16
            archive.writestr(info, b"x")
    with tempfile.TemporaryDirectory() as folder:
        try:
            out = unpacked(Path(folder), buffer.getvalue(), ArchiveLimits(bytes=100, entries=10))
        except BadArchive:
            assert [path.name for path in Path(folder).iterdir()] == ["a.zip"]
        else:
            found = [path for path in Path(folder).rglob("*") if path.name != "a.zip" or path.parent == out]
            assert all(path == out or path.is_relative_to(out) for path in found)
            modes = {(stat.S_ISDIR(status.st_mode), status.st_mode & 0o7777) for status in map(Path.lstat, found)}
            assert modes <= {(True, 0o755), (False, 0o644), (False, 0o755)}
            assert all(path.is_dir() or path.is_file() for path in found)


SEED = zipped({"d/a.txt": b"hello" * 20, "b": b"", "inner.zip": zipped({"x": b"1"})})


@given(
    changes=st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(SEED)),
    grown=st.binary(max_size=40),
)
@example(changes=[], cut=len(SEED), grown=b"")
def test_damage_is_refused_or_harmless(changes: list[tuple[int, int]], cut: int, grown: bytes) -> None:
    data = bytearray(SEED)
    for place, value in changes:
        data[place] = value
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "a.zip").write_bytes(bytes(data[:cut]) + grown)
        try:
            unpack(top / "a.zip", top / "out", limits=ArchiveLimits(bytes=5000, entries=20))
        except BadArchive:
            assert [path.name for path in top.iterdir()] == ["a.zip"]
        else:
            found = [path for path in top.rglob("*") if path.name != "a.zip" or path.parent != top]
            assert all(path.is_relative_to(top / "out") and not path.is_symlink() for path in found)


@pytest.mark.parametrize("length", range(4, 23))
def test_the_beginning_of_an_end_record_is_no_archive(tmp_path: Path, length: int) -> None:
    """Found by `make fuzz`: shorter than 18 bytes it was taken for a whole record, and ended in an unexpected error."""
    data = b"PK\5\6" + bytes(length - 4)
    if length == 22:
        assert tree(unpacked(tmp_path, data)) == {}
    else:
        assert refusal(tmp_path, data) == "is damaged or cut short"
