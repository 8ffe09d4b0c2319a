import os
from pathlib import Path

import pytest

from worker.archives.web_page import copy_web_page


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], None),
        (["a.txt", "b/c.txt"], None),
        (["a.html", "detailed_results.html"], "detailed_results.html"),
        (["z.HTML", "a/a.html"], "z.HTML"),
        (["b/x.html", "a/y.html"], "a/y.html"),
        (["private/a.html"], None),
        (["private/a.html", "x/private/b.html"], "x/private/b.html"),
        (["x/detailed_results.html", "x/a.html"], "x/a.html"),
    ],
)
def test_the_page_is_the_named_one_or_the_first(out: Path, files: list[str], expected: str | None) -> None:
    for name in files:
        (out / name).parent.mkdir(exist_ok=True, parents=True)
        (out / name).write_text(name)
    copy = out.parent / "copy"
    assert copy_web_page(out, copy, limit=1000) is (expected is not None)
    assert (copy.read_text() if copy.exists() else None) == expected


def test_neither_link_nor_fifo_nor_device_is_a_page(out: Path) -> None:
    (out.parent / "secret.html").write_text("secret")
    (out / "detailed_results.html").symlink_to(out.parent / "secret.html")
    (out / "folder").symlink_to(out.parent)
    os.mkfifo(out / "a.html")
    assert not copy_web_page(out, out.parent / "copy", limit=1000)


def test_no_descriptor_stays_open(out: Path) -> None:
    for name in ("z.html", "y.html", "detailed_results.html"):
        (out / name).write_text(name)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert copy_web_page(out, out.parent / "copy", limit=1000)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_page_beyond_the_limit_is_not_copied(out: Path) -> None:
    with (out / "page.html").open("wb") as file:
        file.truncate(1 << 40)  # a hole
    assert not copy_web_page(out, out.parent / "copy", limit=1000)
    assert not (out.parent / "copy").exists()
