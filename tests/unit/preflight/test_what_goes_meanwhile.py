"""What others make and remove while `check` looks: another check that tries a folder, a worker that is at work."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from config.settings import Settings
from worker.preflight import leftovers
from worker.preflight.leftovers import look_at_leftovers
from worker.preflight.lines import State
from worker.preflight.temp_dir import look_at_cache


def test_a_temp_dir_that_goes_holds_no_leftovers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone(folder: Path, _pattern: str) -> list[Path]:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(leftovers, "engine_of", lambda _settings: nullcontext(None))
    monkeypatch.setattr(Path, "glob", gone)
    (line,) = look_at_leftovers(Settings(submission_temp_dir=tmp_path))
    assert (line.state, line.found) == (State.OK, "none")


def test_a_bundle_that_leaves_the_cache_is_no_fault_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def listed(folder: Path, _pattern: str) -> list[Path]:
        return [folder / "gone", tmp_path / "there"]

    (tmp_path / "there").write_bytes(b"bundle")
    monkeypatch.setattr(Path, "glob", listed)
    monkeypatch.setattr(Path, "is_file", lambda _path: True)  # it was there a moment before
    assert {line.state for line in look_at_cache(Settings(submission_cache_dir=tmp_path))} == {State.OK}
