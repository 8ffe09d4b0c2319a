from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bundles.metadata import MetadataError, command, parse_document


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path


def test_a_document_of_a_site() -> None:
    text = (
        b"program: https://store/p.zip?sv=1&sig=a%2Bb%3D\ninput: http://store/i.txt\nres:\nsubmitted-at: 2020-01-01\n"
    )
    assert parse_document(text) == {
        "program": "https://store/p.zip?sv=1&sig=a%2Bb%3D",
        "input": "http://store/i.txt",
        "res": "",
        "submitted-at": "2020-01-01",
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text",
        b"- a\n- list",
        b"a: b: c",
        b"{",
        b"\xff\xfe\x00",
        b"\0" * 100,
        b"PK\3\4" + bytes(range(256)),
        b"a: 1\n---\nb: 2\n",
        b"? [a]\n: b\n",
        b'a: "\\UFFFFFFFF"',
        b"a: @b",
    ],
)
def test_text_that_is_no_mapping(data: bytes) -> None:
    assert parse_document(data) is None


def test_tags_make_no_objects() -> None:
    assert parse_document(b"a: !!python/object/apply:os.system [id]\n") == {"a": ["id"]}
    assert parse_document(b"a: !!int 5\nb: 0x10\nc: yes\n") == {"a": "5", "b": "0x10", "c": "yes"}


@pytest.mark.parametrize(
    "data",
    [
        b"a: &a [x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 110)),
        b"a: &a {x: 1}\nb: {<<: *a}\n",
        b"[" * 500_000,
        b"a: " + b"{a: " * 500_000,
        b"- " * 500_000,
        b"a: [" + b"x," * 500_000 + b"]",
        b"a: " + b"x" * 2_000_000,
        b"k: v\n" * 200_000,
        b"a: 1" + b":1" * 500_000,
        b"? " * 500_000,
        b"a: &x " * 150_000,
        b"#" * 1_000_000,
    ],
    ids=[
        "laughs",
        "merge",
        "brackets",
        "braces",
        "dashes",
        "list",
        "big",
        "keys",
        "base60",
        "questions",
        "anchors",
        "comment",
    ],
)
def test_bombs_cost_nothing(data: bytes) -> None:
    started = time.process_time()
    parse_document(data)
    assert time.process_time() - started < 2


@given(st.binary(max_size=300))
def test_any_bytes_are_a_mapping_or_nothing(data: bytes) -> None:
    document = parse_document(data)
    assert document is None or isinstance(document, dict)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("command: python $program/score.py $input $output", ("python $program/score.py $input $output",)),
        ("command: [first, second -x]", ("first", "second -x")),
        ("command:\n  - 'first'\n  - ''\n  - second\n", ("first", "second")),
        ("command: >\n  python\n  run.py\ndescription: x", ("python run.py",)),
    ],
)
def test_commands(program: Path, text: str, commands: tuple[str, ...]) -> None:
    (program / "metadata").write_text(text)
    assert command(program) == commands


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a YAML mapping"),
        ("python run.py", "not a YAML mapping"),
        ("description: a program", "names no command"),
        ("command:", "names no command"),
        ("command: ['', ' ']", "names no command"),
        ("command: []", "names no command"),
        ("command: {a: b}", "neither a line of text"),
        ("command: [[a]]", "neither a line of text"),
        ("a: " + "x" * 1_100_000, "not a YAML mapping"),
    ],
)
def test_what_is_wrong_is_told(program: Path, text: str, reason: str) -> None:
    (program / "metadata").write_text(text)
    with pytest.raises(MetadataError, match=reason):
        command(program)


def test_a_program_without_metadata(program: Path) -> None:
    with pytest.raises(MetadataError, match="it has no metadata file"):
        command(program)


def test_links_folders_and_fifos_are_no_metadata(program: Path) -> None:
    (program / "real").write_text("command: x")
    (program / "metadata").symlink_to("real")
    with pytest.raises(MetadataError, match="no metadata file"):
        command(program)
    (program / "metadata").unlink()
    os.mkfifo(program / "metadata")
    with pytest.raises(MetadataError, match="not a file"):
        command(program)
    (program / "metadata").unlink()
    (program / "metadata").mkdir()
    with pytest.raises(MetadataError, match="not a file"):
        command(program)
