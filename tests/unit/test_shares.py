"""How a host is shared out among the runs that are worked side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from config.settings import Settings
from protocol.run import Role
from sandbox.engine_facts import HostFacts
from sandbox.errors import EngineRefused
from sandbox.gpu import GpuRequest, dealt_out
from sandbox.profile import host_config
from sandbox.slots import Share
from sandbox.testing import FakeEngine
from worker import shares
from worker.profiles import make_profiles
from worker.shares import share_out

MIB, GIB = 1 << 20, 1 << 30
HOST = HostFacts("h", "27.0", 8, 16 * GIB, "linux", swap_limit=True, runtimes=("runc",), cdi=False)


@pytest.fixture(autouse=True)
def plain_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine that this runs on is like."""
    monkeypatch.setattr(shares, "cpu_order", range)


def shared(gpus: tuple[GpuRequest, ...] | None = None, host: HostFacts = HOST, **settings: Any) -> tuple[Share, ...]:
    return share_out(Settings(**settings), FakeEngine(), host, gpus)


@pytest.mark.parametrize(
    ("settings", "cpus", "expected"),
    [
        ({}, 8, [""]),
        ({"worker_concurrency": 2}, 8, ["0-3", "4-7"]),
        ({"worker_concurrency": 3}, 8, ["0-1", "2-3", "4-5"]),
        ({"worker_concurrency": 8}, 8, list("01234567")),
        ({"worker_concurrency": 3}, 2, ["", "", ""]),
        ({"worker_concurrency": 2, "worker_cpu_limit": 2}, 8, ["", ""]),
    ],
    ids=["one slot", "two", "three", "one CPU each", "fewer CPUs than slots", "as the operator says"],
)
def test_runs_have_whole_cpus_of_their_own_where_there_are_enough(
    settings: dict[str, Any], cpus: int, expected: list[str]
) -> None:
    assert [share.cpuset for share in shared(host=replace(HOST, cpus=cpus), **settings)] == expected


def test_an_engine_that_will_not_have_it_leaves_a_share_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_engine: FakeEngine, _container: str) -> None:
        raise EngineRefused("Requested CPUs are not available")

    monkeypatch.setattr(FakeEngine, "start", refuse)
    with capture_logs() as logs:
        assert shared(worker_concurrency=2) == (Share(), Share())
    (line,) = logs
    assert line["reason"] == "Requested CPUs are not available"


@pytest.mark.parametrize(
    ("concurrency", "ids", "per_run", "expected"),
    [
        (1, ("0", "1"), 1, [("0",)]),
        (2, ("0", "1", "2"), 1, [("0",), ("1",)]),
        (4, ("0", "1", "2"), 1, [("0",), ("1",), ("2",)]),
        (4, ("0", "1", "2"), 2, [("0", "1")]),
        (4, (), None, [()]),
    ],
)
def test_no_more_runs_are_taken_than_there_are_gpus_for(
    concurrency: int, ids: tuple[str, ...], per_run: int | None, expected: list[tuple[str, ...]]
) -> None:
    with capture_logs() as logs:
        dealt = shared(dealt_out(ids, per_run), worker_concurrency=concurrency)
    assert [share.gpus for share in dealt] == [GpuRequest(names) for names in expected]
    warned = [line["slots"] for line in logs if line["log_level"] == "warning"]
    assert warned == ([len(expected)] if len(expected) < concurrency else [])


def test_what_nobody_has_limited_is_divided_by_the_slots_that_there_are() -> None:
    dealt = shared(dealt_out(("0", "1"), 1), worker_concurrency=4)
    profiles = make_profiles(Settings(worker_concurrency=4), HOST, dealt)
    for role in Role:
        for share, cpus in zip(dealt, ("0-3", "4-7"), strict=True):
            profile = profiles.of(role, share)
            assert (profile.gpus, profile.cpuset, profile.cpus) == (share.gpus, cpus, 4)
            assert profile.memory == (16 * GIB - 512 * MIB) // 2
            options = host_config(profile, host_cpus=HOST.cpus)
            assert (options["CpusetCpus"], options["NanoCpus"]) == (cpus, 4_000_000_000)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 8), ({"worker_concurrency": 16}, 0.5), ({"worker_cpu_limit": 3}, 3), ({"worker_cpu_limit": 99}, 8)],
)
def test_without_cpus_of_their_own_runs_have_a_share_of_time(settings: dict[str, Any], expected: float) -> None:
    dealt = shared(**settings)
    profile = make_profiles(Settings(**settings), HOST, dealt).of(Role.SCORING, dealt[0])
    assert profile.cpus == expected
    assert "CpusetCpus" not in host_config(profile, host_cpus=HOST.cpus)
