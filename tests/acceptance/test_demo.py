"""`make demo`, the first thing that anybody does here, and the recording of it in the README."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support import terminal
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance


def test_the_demo_shows_what_the_readme_has_recorded_of_it(parts: Parts, tmp_path: Path) -> None:
    shown = terminal.screen(terminal.demo(tmp_path, parts))
    title, *recorded = sorted(terminal.words(terminal.DEMO.read_text("utf-8")), key="codalab-worker".__ne__)
    assert title == "codalab-worker"
    assert terminal.plain(recorded) == terminal.plain([terminal.COMMAND, *shown])
    with zipfile.ZipFile(tmp_path / "demo-results" / "output.zip") as archive:
        assert archive.read("scores.txt") == b"accuracy: 0.9167\nf1: 0.9153\n"
    assert "docs/images/demo.svg" in (terminal.DEMO.parents[2] / "README.md").read_text("utf-8")
