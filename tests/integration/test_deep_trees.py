"""Folders so deep that no path reaches their end, as a hostile container makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.archives import walk
from worker.archives.tree import remove_tree, sanitise

LONG_NAME = "d" * 200


def deep(top: Path, levels: int, name: str = LONG_NAME) -> None:
    """A chain of folders that no single path could reach, with a file at its end."""
    handle = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=handle)
        inner = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    remove_tree(folder)  # pytest's own removal is no match for it, and would fail in later sessions


def test_depth_and_numbers_cost_no_descriptors(out: Path) -> None:
    deep(out, 3000)
    before, most = descriptors(), 0
    for count, _ in enumerate(walk.walk(out)):
        most = max(most, descriptors() if count % 500 == 0 else 0)
    assert count == 6000
    assert most <= before + 2
    assert descriptors() <= before


def test_a_deep_tree_is_sanitised_and_removed(out: Path) -> None:
    deep(out, 3000)
    assert sanitise(out) == ()
    remove_tree(out)
    assert not out.exists()
