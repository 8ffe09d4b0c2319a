"""Hosts that are network namespaces: what they see, and that nothing is left of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fleet.network import Host, network

pytestmark = pytest.mark.acceptance
_HOLD = """
import signal
from tests.fleet.network import network
from worker.demo.signals import terminable
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
with terminable(), network(2) as made:
    print(made.gateway, *(host.pid for host in made.hosts), flush=True)
    input()
"""
_PATIENCE = 60.0


def test_a_host_has_an_address_of_its_own_and_no_way_but_to_the_others() -> None:
    with network(2) as made:
        addresses = [_within(host, "ip", "-4", "-oneline", "addr", "show", "uplink").split()[3] for host in made.hosts]
        routes = [_within(host, "ip", "route").splitlines() for host in made.hosts]
    assert addresses == [f"{host.address}/24" for host in made.hosts]
    assert [len(lines) for lines in routes] == [1, 1]
    assert not any("default" in line for lines in routes for line in lines)


def test_two_networks_side_by_side_have_nothing_in_common() -> None:
    with network(1) as one, network(1) as other:
        assert one.gateway != other.gateway
        assert one.hosts[0].address != other.hosts[0].address


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_network_whose_holder_ends(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        gateway, *pids = holder.stdout.readline().decode().split()
        assert (bridge := _interface(gateway))
        holder.send_signal(how)
        holder.wait(_PATIENCE)
    _await_ends(pids)
    with network(1):  # which takes away the bridge of one that was killed
        pass
    assert _interface(gateway) != bridge  # somebody else's may have its name and address by now


def _interface(address: str) -> str | None:
    """The number of the interface with that address, which no other ever has; None where there is none."""
    shown = subprocess.run(["ip", "-oneline", "addr"], check=True, capture_output=True, text=True).stdout
    return next((line.partition(":")[0] for line in shown.splitlines() if f" {address}/" in line), None)


def _within(host: Host, *command: str) -> str:
    return subprocess.run([*host.enter, *command], check=True, capture_output=True, text=True).stdout


def _await_ends(pids: list[str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while any(Path("/proc", pid).exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
