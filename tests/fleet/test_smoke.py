"""A small fleet of twelve runs, so that `make fleet` works whenever somebody wants the great one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fleet import report
from tests.fleet.campaign import Plan, campaign
from tests.fleet.figures import evenness
from tests.fleet.network import network
from tests.fleet.place import place
from tests.fleet.workload import Kind
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance
_HOSTS = 4
_HOLD = """
from tests.fleet.network import network
from worker.demo.signals import terminable
with terminable(), network(2) as made:
    print(made.gateway, *(host.pid for host in made.hosts), flush=True)
    input()
"""


def test_each_of_twelve_runs_has_one_end_on_some_host(tmp_path: Path) -> None:
    plan = Plan({Kind.SCORED: 8, Kind.REFUSED: 4}, containers=2, idle=0.0, minutes=2.0)
    with place(Parts.from_environment().docker_host, _HOSTS, quick=True) as there:
        figures = campaign(plan, there)
    assert figures.good, report.table(figures)
    assert (figures.idle.connections, figures.idle.queues) == (3, 2)
    for phase in figures.phases:
        assert sum(phase.runs_of_workers) == phase.runs
        assert phase.messages["runs"]["deliver"] == phase.messages["updates"]["publish"] / 2 == 1
    assert json.loads(report.save(tmp_path, figures).read_text())["workers"] == _HOSTS


def test_a_host_sees_the_gateway_and_nothing_of_its_neighbours_loopback() -> None:
    with network(2) as made:
        routes = [_within(host.enter, "ip", "route") for host in made.hosts]
    assert [route.split()[0] for route in routes] == [f"{made.gateway.rpartition('.')[0]}.0/24"] * 2


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_of_a_network_whose_holder_ends(how: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        gateway, *pids = holder.stdout.readline().decode().split()
        holder.send_signal(signal.Signals[how])
        holder.wait(20)
    _await_ends(pids)
    with network(1) as next_one:  # which takes away the bridge of one that was killed
        assert next_one.gateway
    assert gateway not in subprocess.run(["ip", "addr"], check=True, capture_output=True, text=True).stdout


def test_evenness_is_one_where_all_have_the_same_and_falls_to_one_of_n() -> None:
    assert evenness([5, 5, 5, 5]) == 1
    assert evenness([8, 0, 0, 0]) == 1 / 4
    assert evenness([0, 0]) == 0


def _within(enter: tuple[str, ...], *command: str) -> str:
    return subprocess.run([*enter, *command], check=True, capture_output=True, text=True).stdout


def _await_ends(pids: list[str]) -> None:
    deadline = time.monotonic() + 20
    while any(Path("/proc", pid).exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
