"""What a real container may write, behind a wall and without one: who goes too far is ended, and the limit named."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sandbox.engine import Bound, ContainerSpec, Mount
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason, Outcome
from sandbox.runner import Sandbox
from sandbox.testing import Program
from sandbox.usage import Usage
from sandbox.wall import raise_wall, take_down
from tests.support.mounts import mounted_below
from worker.archives.tree import remove_tree
from worker.demo import images
from worker.demo.engine import connect

pytestmark = pytest.mark.integration
MIB = 1 << 20
MOST = Usage(16 * MIB, 200)
SOON = 40.0  # seconds; a watch looks every second, and this machine may be busy and stall
BYTES, NAMES = ExitReason.OUTPUT_LIMIT, ExitReason.OUTPUT_FILES_LIMIT

FOR_EVER = "\nsleep 1000\n"
SLOWLY = "while :; do head -c 1m /dev/zero; sleep 0.01; done > {}"


def python(script: str) -> str:
    return f"exec python3 -c 'import os; {script}'"


def hole(size: int) -> str:
    return f"truncate -s {size} /out/sparse"


EXCESSES = {
    "too many bytes": ("exec dd if=/dev/zero of=/out/big bs=1M count=64", BYTES),
    "a file that never ends": (SLOWLY.format("/out/big"), BYTES),
    "many files of few bytes": ("for i in $(seq 150); do head -c 200000 /dev/zero > /out/$i || exit 1; done", BYTES),
    "a hole": (hole(1 << 40) + FOR_EVER, BYTES),
    "a hole, and an end": (hole(1 << 40), BYTES),
    "one file of many names": (
        hole(1 << 20) + "; " + python('[os.link("/out/sparse", f"/out/{i}") for i in range(99)]'),
        BYTES,
    ),
    "too many files": ("for i in $(seq 400); do : > /out/$i; done" + FOR_EVER, NAMES),
    "too many files, and an end": ("for i in $(seq 400); do : > /out/$i; done; exit 0", NAMES),
    "links": (python('[os.symlink("x", f"/out/{i}") for i in range(400)]'), NAMES),
    "hard links": (python('open("/out/a", "w"); [os.link("/out/a", f"/out/{i}") for i in range(400)]'), NAMES),
    "3,000 levels": (python('os.chdir("/out"); [(os.mkdir("d"), os.chdir("d")) for i in range(3000)]'), NAMES),
}


@pytest.fixture(params=["behind a wall", "watched"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An output folder that may hold `MOST`."""
    folder = tmp_path / "run" / "out"
    folder.mkdir(parents=True)
    if request.param == "behind a wall":
        raise_wall(tmp_path / "run", [folder], MOST)
    folder.chmod(0o777)
    yield folder
    take_down(tmp_path / "run")
    assert mounted_below(tmp_path) == []
    remove_tree(tmp_path / "run")  # pytest's own removal is no match for 3,000 levels, and would fail in later sessions


def spec(real: Any, out: Path, script: str, most: Usage = MOST, **changes: Any) -> ContainerSpec:
    made: ContainerSpec = real.spec(Program(), command=("sh", "-c", script), user="1000:1000", **changes)
    mount = Mount(out, "/out", read_only=False)
    return replace(made, mounts=(mount,), bounds=(Bound((out,), most),))


def run(real: Any, spec: ContainerSpec, logs: LogPair) -> Outcome:
    with Sandbox(real.engine).container(spec) as container:
        return container.run(time_limit=60, grace=45, logs=logs)


@pytest.mark.parametrize(("script", "reason"), EXCESSES.values(), ids=EXCESSES)
def test_too_much_is_ended_and_named(real: Any, out: Path, logs: LogPair, script: str, reason: ExitReason) -> None:
    outcome = run(real, spec(real, out, script), logs)
    assert outcome.reason is reason, (outcome, logs.stderr.path.read_text())
    assert outcome.elapsed < SOON  # the grace of 45 s is for others
    assert on_disk(out) < 512 * MIB


def test_up_to_the_limit_is_no_fault(real: Any, out: Path, logs: LogPair) -> None:
    script = "head -c 16777216 /dev/zero > /out/all && mkdir -p /out/d && for i in $(seq 198); do : > /out/d/$i; done"
    outcome = run(real, spec(real, out, script), logs)
    assert (outcome.ok, outcome.filled) == (True, None) or (out.is_mount() and outcome.filled), outcome
    assert (out / "all").stat().st_size == 16777216
    assert len(list((out / "d").iterdir())) == 198


@pytest.mark.parametrize("out", ["behind a wall"], indirect=True)
@pytest.mark.parametrize(("exit_code", "reason"), [(0, ExitReason.EXITED), (1, BYTES)])
def test_a_full_wall_explains_a_failure_and_is_noted_otherwise(
    real: Any, out: Path, logs: LogPair, exit_code: int, reason: ExitReason
) -> None:
    """Small files take whole blocks: the wall is full before their bytes come to the limit."""
    take_down(out.parent)
    (out.parent / "wall").rename(out.parent / "first-wall")
    most = Usage(MIB, 2000)
    raise_wall(out.parent, [out], most)
    out.chmod(0o777)
    script = f"for i in $(seq 400); do echo x > /out/$i; done; exit {exit_code}"
    outcome = run(real, spec(real, out, script, most), logs)
    assert "No space left on device" in logs.stderr.path.read_text()
    assert (outcome.reason, outcome.exit_code) == (reason, exit_code)
    assert outcome.filled == (None if exit_code else BYTES)


def test_what_lay_there_before_is_no_growth(real: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    (tmp_path / "run" / "input").write_bytes(bytes(32 * MIB))
    bound = Bound((tmp_path / "run",), MOST, growth=True)
    calm, wild = "head -c 1m /dev/zero > /out/new", SLOWLY.format("/out/new")
    for script, reason in ((calm, ExitReason.EXITED), (wild, BYTES)):
        fresh = LogPair.at(tmp_path / f"{reason}.out", tmp_path / f"{reason}.err", limit=100)
        outcome = run(real, replace(spec(real, tmp_path / "run", script), bounds=(bound,)), fresh)
        assert outcome.reason is reason


@pytest.mark.parametrize("sight", [True, False], ids=["walked", "asked for"])
@pytest.mark.parametrize("place", ["/tmp", "/data"])
def test_what_is_written_elsewhere_is_limited(
    real: Any, parts: Any, logs: LogPair, monkeypatch: pytest.MonkeyPatch, sight: bool, place: str
) -> None:
    if not sight:
        monkeypatch.setattr(os, "access", lambda *_: False)  # as in a container that has the socket only
    tag = f"limits-test:{uuid4().hex[:8]}"
    with closing(connect(parts.docker_host)) as client:
        images.build(client, tag, f"FROM {images.BASE}\nVOLUME /data\n", {})
        try:
            made = real.spec(Program(), image=tag, command=("sh", "-c", SLOWLY.format(f"{place}/big")))
            made = replace(made, profile=replace(made.profile, scratch=16 * MIB))
            outcome = run(real, made, logs)
        finally:
            client.images.remove(tag, force=True)
    assert outcome.reason is ExitReason.SCRATCH_LIMIT
    assert outcome.elapsed < SOON


def on_disk(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.iterdir())
