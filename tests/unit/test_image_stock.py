"""Which images are given up for want of room, and in which order."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sandbox.cancellation import Cancellation
from sandbox.engine import ContainerSpec, Image
from sandbox.images import PullPolicy
from sandbox.profile import SecurityProfile
from sandbox.testing import FakeEngine, Program
from worker.kept.image_stock import ImageStock

PROFILE = SecurityProfile(memory=1 << 27, cpus=1, pids=64, shm_size=1 << 20)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1, 1000))
    own = SimpleNamespace(time=lambda: float(next(ticks)), monotonic=time.monotonic)
    monkeypatch.setattr("worker.kept.image_stock.time", own)


class Host:
    def __init__(self, folder: Path) -> None:
        names = ("old", "middle", "new", "operators")
        self.engine = FakeEngine({"operators": Program()}, {name: Program() for name in names})
        self.memory = folder / "images.json"
        self.stock = ImageStock(self.engine, self.memory)

    def obtain(self, run: str, name: str, *, anew: bool = False) -> Image:
        return self.stock.obtain(run, name, PullPolicy.ALWAYS, progress=None, cancellation=Cancellation(), anew=anew)

    def used(self, *names: str) -> None:
        for name in names:
            with self.stock.kept_for(f"run of {name}"):
                self.obtain(f"run of {name}", name)

    def given_up(self) -> list[str]:
        before = list(self.engine.programs)
        while self.stock.give_up_one():
            pass
        return [name for name in before if name not in self.engine.programs]

    def restart(self) -> None:
        self.stock = ImageStock(self.engine, self.memory)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_least_recently_used_goes_first_one_at_a_time(host: Host) -> None:
    host.used("old", "new", "middle", "new")
    gone: list[str] = []
    while host.stock.give_up_one():
        gone.append(next(name for name in ("old", "middle", "new") if name not in {*host.engine.programs, *gone}))
    assert gone == ["old", "middle", "new"]


def test_what_was_there_before_never_goes(host: Host) -> None:
    host.used("operators", "old")
    assert host.given_up() == ["old"]
    assert "operators" in host.engine.programs


def test_what_a_run_in_work_uses_stays_until_its_end(host: Host) -> None:
    host.used("old")
    with host.stock.kept_for("run"):
        host.obtain("run", "old")
        assert host.given_up() == []
    assert host.given_up() == ["old"]


def test_what_a_run_of_an_earlier_process_may_go_on_with_stays(host: Host) -> None:
    host.used("old", "new")
    image = host.engine.find_image("old")
    assert image
    host.restart()
    host.stock.reserve("run", [image])
    with host.stock.kept_for("run"):
        assert host.given_up() == ["new"]
    assert host.given_up() == ["old"]


def test_what_a_run_of_an_earlier_process_does_not_come_for_may_go(host: Host) -> None:
    host.used("old")
    image = host.engine.find_image("old")
    assert image
    host.restart()
    host.stock.reserve("run", [image])
    assert host.given_up() == []
    host.stock.release("run")
    host.stock.release("run")
    assert host.given_up() == ["old"]


def test_what_somebody_removed_is_had_anew_though_it_was_had_before(host: Host) -> None:
    with host.stock.kept_for("run"):
        host.obtain("run", "old")
        del host.engine.programs["old"]
        host.obtain("run", "old")
        assert "old" not in host.engine.programs
        host.obtain("run", "old", anew=True)
        assert "old" in host.engine.programs


def test_what_a_container_uses_stays_and_the_next_one_goes(host: Host) -> None:
    host.used("old", "new")
    host.engine.create(ContainerSpec(name="another worker's", image="old", profile=PROFILE))
    assert host.given_up() == ["new"]


def test_what_was_pulled_is_remembered_by_the_next_process(host: Host) -> None:
    host.used("old", "new")
    host.restart()
    assert host.given_up() == ["old", "new"]
    assert json.loads(host.memory.read_bytes()) == {}


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"names": ["x"]}}', b"\xff"])
def test_a_damaged_memory_is_an_empty_one(host: Host, damaged: bytes) -> None:
    host.used("old")
    host.memory.write_bytes(damaged)
    host.restart()
    assert host.given_up() == []
    host.used("new")
    assert host.given_up() == ["new"]


def test_an_engine_that_is_away_gives_nothing_up(host: Host) -> None:
    host.used("old")
    host.engine.unreachable = True
    assert host.given_up() == []
    host.engine.unreachable = False
    assert host.given_up() == ["old"]


def test_a_memory_that_cannot_be_written_fails_no_run(host: Host) -> None:
    host.memory.with_suffix(".new").mkdir()
    host.used("old")
    assert host.given_up() == ["old"]
