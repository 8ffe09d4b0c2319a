import os
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.host_paths import HostPaths, SharedFolder
from sandbox.testing import FakeEngine
from worker.kept.disk import watched_disks

TEMP = Path("/temp-dir")


def watched(root: Path, *, name: str = os.uname().nodename, engine: FakeEngine | None = None) -> tuple[Path, ...]:
    engine = engine or FakeEngine()
    return watched_disks(TEMP, engine, replace(engine.host_facts(), name=name, data_root=str(root)))


def test_the_engines_own_folder_is_watched_where_the_engine_is_of_this_machine(tmp_path: Path) -> None:
    assert watched(tmp_path) == (TEMP, tmp_path)


@pytest.mark.parametrize("name", ["another-host", "docker-desktop"])
def test_a_folder_of_that_name_here_is_not_the_one_of_another_machine(tmp_path: Path, name: str) -> None:
    assert watched(tmp_path, name=name) == (TEMP,)


def test_a_worker_in_a_container_sees_none_of_it(tmp_path: Path) -> None:
    inside = FakeEngine(host_paths=HostPaths((SharedFolder(TEMP, Path("/srv/temp")),)))
    assert watched(tmp_path, engine=inside) == (TEMP,)


def test_an_engine_that_names_no_folder_or_one_that_is_not_there(tmp_path: Path) -> None:
    assert watched(tmp_path / "none") == (TEMP,)
    assert watched_disks(TEMP, FakeEngine(), FakeEngine().host_facts()) == (TEMP,)
