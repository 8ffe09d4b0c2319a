"""Walls by themselves: what they hold, what they cost, and that none stays."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import wall
from sandbox.docker.engine import DockerEngine
from sandbox.testing import FakeEngine
from sandbox.usage import Usage
from sandbox.wall import WallError, raise_wall, take_down, why_no_wall
from tests.support.mounts import mounted_below, wait_until_gone
from worker.demo.parts import Parts
from worker.kept.abandoned import remove_abandoned
from worker.kept.folders import TempDir

pytestmark = pytest.mark.integration
MIB = 1 << 20
MOST = Usage(8 * MIB, 100)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A run's folder; whatever a test does, nothing is mounted below it in the end."""
    yield tmp_path
    take_down(tmp_path)
    assert mounted_below(tmp_path) == []


def folder(root: Path, name: str) -> Path:
    made = root / name
    made.mkdir(parents=True)
    return made


def fill(path: Path) -> int:
    """Writes until there is no more room; how many bytes that were."""
    with path.open("wb", buffering=0) as file:
        refused(lambda: [file.write(bytes(1 << 16)) for _ in range(1 << 20)])
    return path.stat().st_size


def refused(write: Callable[[], object]) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write()


@pytest.mark.parametrize("most", [Usage(MIB, 16), Usage(MIB, 100_000), MOST, Usage(300 * MIB, 1000)], ids=str)
def test_it_holds_what_was_asked_for_and_little_more(root: Path, most: Usage) -> None:
    out = folder(root, "out")
    raise_wall(root, [out], most)
    room = os.statvfs(out)
    assert most.names <= room.f_ffree
    for number in range(min(most.names, 1000)):
        (out / str(number)).touch()
    assert most.size <= fill(out / "0") <= most.size * 1.03 + MIB


def test_names_have_an_end_too(root: Path) -> None:
    out = folder(root, "out")
    raise_wall(root, [out], MOST)
    refused(lambda: [(out / str(number)).write_bytes(b"") for number in range(1000)])
    assert MOST.names <= len(list(out.iterdir())) <= MOST.names + 64


def test_folders_behind_one_wall_share_its_room_and_are_no_way_to_it(root: Path) -> None:
    first, second = folder(root, "first"), folder(root, "second")
    raise_wall(root, [first, second], MOST)
    fill(first / "all")
    refused(lambda: (second / "more").write_bytes(bytes(MIB)))
    assert list(second.iterdir()) == [second / "more"]
    options = subprocess.run(["findmnt", "-no", "OPTIONS", first], check=True, capture_output=True, text=True).stdout
    assert {"nosuid", "nodev"} <= set(options.strip().split(","))
    assert "noexec" not in options


def test_ten_gibibytes_take_no_room_until_they_are_written(root: Path) -> None:
    out = folder(root, "out")
    raise_wall(root, [out], Usage(10 << 30, 100_000))
    assert (root / "wall" / "image").stat().st_blocks * 512 < 2 * MIB
    assert os.statvfs(out).f_bavail * os.statvfs(out).f_frsize >= 10 << 30


def test_several_at_once_do_not_meet(root: Path) -> None:
    roots = [folder(root, str(number)) for number in range(6)]
    outs = [folder(one, "out") for one in roots]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one, out: raise_wall(one, [out], MOST), roots, outs))
        sizes = list(pool.map(lambda out: fill(out / "all"), outs))
        assert min(sizes) >= MOST.size
        list(pool.map(take_down, roots))
    assert mounted_below(root) == []
    wait_until_gone(root)


def test_one_in_use_goes_all_the_same_and_its_device_with_the_last_user(root: Path) -> None:
    out = folder(root, "out")
    raise_wall(root, [out], MOST)
    with (out / "open").open("w"):
        take_down(root)
        assert mounted_below(root) == []
        assert list(out.iterdir()) == []
    wait_until_gone(root)


def test_only_what_is_below_is_unmounted(root: Path) -> None:
    mine, other = folder(root, "run"), folder(root, "run-2")
    for one in (mine, other):
        raise_wall(one, [folder(one, "out")], MOST)
    take_down(mine)
    take_down(mine)  # nothing is no error
    assert (other / "out").is_mount()
    assert not (mine / "out").is_mount()


def test_a_blank_in_the_name_is_no_hindrance(root: Path) -> None:
    odd = folder(root, "a \\ blank\tand\nmore")
    raise_wall(odd, [folder(odd, "out")], MOST)
    take_down(odd)
    assert not (odd / "out").is_mount()


def test_a_process_that_is_killed_leaves_what_the_next_can_take_down(root: Path) -> None:
    out = folder(root, "out")
    script = (
        "import os, sys, signal; from pathlib import Path; from sandbox.wall import raise_wall\n"
        "from sandbox.usage import Usage\n"
        "raise_wall(Path(sys.argv[1]), [Path(sys.argv[2])], Usage(1 << 20, 16)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, root, out], check=False).returncode == -9
    assert out.is_mount()
    take_down(root)
    assert not out.is_mount()


def test_without_mkfs_there_is_none_and_the_reason_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "_PATH", str(root))
    assert why_no_wall(folder(root, "run"), FakeEngine()) == "mkfs.ext4 is not installed"


def test_what_mount_says_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "_OPTIONS", "loop,no-such-option")
    with pytest.raises(WallError, match=r"mount: .*bad option"):
        raise_wall(root, [folder(root, "out")], MOST)


def test_the_engine_here_sees_what_is_behind_it(root: Path) -> None:
    engine = DockerEngine(Parts.from_environment().docker_host)
    assert why_no_wall(folder(root, "run"), engine) == ""
    engine.close()


def test_where_the_engine_has_other_mounts_that_is_found_out(root: Path) -> None:
    """As under systemd with a mount namespace of the service's own."""
    script = (
        "import sys; from pathlib import Path; from sandbox.wall import *; from sandbox.docker.engine import *\n"
        "print(why_no_wall(Path(sys.argv[1]), DockerEngine(sys.argv[2])))"
    )
    host = Parts.from_environment().docker_host
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-c",
        script,
        str(folder(root, "run")),
        host,
    ]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "bind source path does not exist" in found


def test_a_temp_dir_that_a_killed_command_left_goes_with_its_walls_and_one_in_use_stays(root: Path) -> None:
    """`exec` and `try` have temp dirs of their own, below the daemon's."""
    mine = TempDir(root / "temp")
    for name in ("try-gone", "try-in-use"):
        used = TempDir(root / "temp" / name)
        run = folder(used.path / "runs", "run")
        raise_wall(run, [folder(run, "out")], MOST)
        if name == "try-gone":
            used.close()
    remove_abandoned(FakeEngine(), mine.path)
    assert not (root / "temp" / "try-gone").exists()
    assert mounted_below(root / "temp" / "try-in-use")
    for held in (used, mine):
        held.close()
