from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.docker.own_container import own_container_id, shared_folders
from sandbox.errors import FolderUnseen
from sandbox.folder_check import check_folder
from sandbox.host_paths import SAME_HOST, HostPaths, SharedFolder
from sandbox.testing import FakeEngine

ID = "5f" * 32
OTHER = "a0" * 32
ROOT = "836 705 0:51 / / rw,relatime master:298 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X"
PATHS = HostPaths(
    (
        SharedFolder(Path("/work"), Path("/srv/worker")),
        SharedFolder(Path("/work/cache"), Path("/var/lib/docker/volumes/cache/_data")),
        SharedFolder(Path("/work/scratch"), None),
    )
)


def mounted(point: str, root: str) -> str:
    return f"846 836 8:1 {root} {point} rw,relatime - ext4 /dev/sda1 rw"


@pytest.mark.parametrize("point", ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"])
def test_the_engines_own_mounts_name_the_container(tmp_path: Path, point: str) -> None:
    lines = [ROOT, mounted("/data", f"/containers/{OTHER}/x"), mounted(point, f"/docker/containers/{ID}/file")]
    assert own_container_id(_mountinfo(tmp_path, lines)) == ID


@pytest.mark.parametrize(
    "line",
    [
        mounted("/data", f"/var/lib/docker/containers/{ID}/hostname"),  # somebody's bind
        mounted("/etc/hosts", "/etc/hosts"),
        mounted("/etc/hosts", f"/containers/{ID[:-1]}/hosts"),
        "",
        "836 705",
    ],
)
def test_no_other_mount_does(tmp_path: Path, line: str) -> None:
    assert own_container_id(_mountinfo(tmp_path, [ROOT, line])) is None


def test_without_proc_there_is_no_container(tmp_path: Path) -> None:
    assert own_container_id(tmp_path / "none") is None


def _mountinfo(folder: Path, lines: list[str]) -> Path:
    path = folder / "mountinfo"
    path.write_text("\n".join(lines))
    return path


def test_binds_and_volumes_are_shared_and_a_tmpfs_is_not() -> None:
    mounts = [
        {"Type": "bind", "Source": "/srv/worker", "Destination": "/work"},
        {"Type": "volume", "Source": "/var/lib/docker/volumes/cache/_data", "Destination": "/work/cache"},
        {"Type": "tmpfs", "Source": "", "Destination": "/work/scratch"},
    ]
    assert shared_folders({"Mounts": mounts}) == PATHS.shared
    assert shared_folders({"Mounts": None}) == ()


@pytest.mark.parametrize(
    ("seen", "on_host"),
    [
        ("/work", "/srv/worker"),
        ("/work/runs/a b", "/srv/worker/runs/a b"),
        ("/work/cache/x", "/var/lib/docker/volumes/cache/_data/x"),
        ("/work/cached", "/srv/worker/cached"),
    ],
)
def test_the_innermost_mount_tells_the_hosts_path(seen: str, on_host: str) -> None:
    assert PATHS.of(Path(seen)) == Path(on_host)


@pytest.mark.parametrize("seen", ["/", "/worker", "/work/scratch/x"])
def test_what_is_on_no_mount_is_an_error_that_names_the_mend(seen: str) -> None:
    with pytest.raises(FolderUnseen, match=f"{seen} lies on none of its mounts.*--volume HOST_FOLDER:{seen}"):
        PATHS.of(Path(seen))


def test_on_the_host_itself_every_path_is_its_own() -> None:
    assert SAME_HOST.of(Path("/any/where")) == Path("/any/where")


def test_what_is_known_besides_wins_over_what_was_found() -> None:
    known = SharedFolder(Path("/work"), Path("/elsewhere"))
    assert HostPaths((known, *PATHS.shared)).of(Path("/work/x")) == Path("/elsewhere/x")
    assert HostPaths((known, *SAME_HOST.shared)).of(Path("/etc")) == Path("/etc")


def test_a_folder_that_the_engines_host_lacks_is_told_with_both_its_paths(tmp_path: Path) -> None:
    elsewhere = HostPaths((SharedFolder(tmp_path, Path("/nowhere")),))
    engine = FakeEngine(host_paths=elsewhere)
    with pytest.raises(FolderUnseen, match=f"writes to {tmp_path}, which should be /nowhere on its host"):
        check_folder(engine, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert engine.containers == {}
