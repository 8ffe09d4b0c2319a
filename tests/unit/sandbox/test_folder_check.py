from pathlib import Path

import pytest

from sandbox.folder_check import check_folder
from sandbox.testing import FakeEngine


def test_the_canary_is_mounted_read_only_never_started_and_leaves_nothing(tmp_path: Path) -> None:
    engine = FakeEngine()
    check_folder(engine, tmp_path)
    (made,) = engine.removed
    (mount,) = made.spec.mounts
    assert mount.read_only
    assert mount.source.parent == tmp_path
    assert not made.state.started_at
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        check_folder(FakeEngine(), tmp_path / "none")
