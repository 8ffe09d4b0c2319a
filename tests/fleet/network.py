"""Hosts without machines: a network namespace each, on one bridge. Needs root.

Whatever a host has on its disk and in its kernel is this machine's; what crosses between it and the others crosses
a network. Nothing of it outlives its holder but the bridge, which the next network takes away.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from worker.demo import packages
from worker.demo.places import run_folder
from worker.demo.processes import PartsError

MOST_HOSTS = 250
_NETWORKS = 256
# A process in a namespace of its own that says when it is there, and ends with whoever holds its standard input.
_HOLDER = ("unshare", "--net", "sh", "-c", "echo; exec cat")


@dataclass(frozen=True, slots=True)
class Host:
    """`pid` is of the process that keeps its network namespace."""

    number: int
    address: str
    pid: int

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that is to run there. Its mounts stay those of the machine, which `ip netns exec`
        would change: the engine would not see what a worker mounts."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")


@dataclass(frozen=True, slots=True)
class Network:
    """`gateway` is this machine's address on the bridge, where the hosts find what they share."""

    gateway: str
    hosts: tuple[Host, ...]


@contextmanager
def network(size: int) -> Iterator[Network]:
    """So many hosts, until the block ends."""
    if not 0 < size <= MOST_HOSTS:
        raise ValueError(f"a network has 1 to {MOST_HOSTS} hosts, not {size}")
    packages.need("ip", "iproute2")
    with ExitStack() as stack:
        number = stack.enter_context(_claimed())
        bridge, gateway = f"cwfleet{number}", _address(number, 1)
        stack.callback(_ip, f"link del {bridge}")
        _ip(f"link add {bridge} type bridge", f"addr add {gateway}/24 dev {bridge}", f"link set {bridge} up")
        hosts = [stack.enter_context(_host(number, index)) for index in range(size)]
        yield Network(gateway, tuple(hosts))


def _address(number: int, last: int) -> str:
    """Within 198.18.0.0/15, which RFC 2544 sets aside for benchmarks of networks."""
    return f"198.18.{number}.{last}"


@contextmanager
def _claimed() -> Iterator[int]:
    """The number of a network that no living process has; what a killed one left of it is taken away."""
    for number in range(_NETWORKS):
        with (run_folder() / f"fleet-{number}.lock").open("w") as lock:
            if _locks(lock):
                subprocess.run(["ip", "link", "del", f"cwfleet{number}"], check=False, capture_output=True)
                yield number
                return
    raise PartsError(f"all {_NETWORKS} networks for fleets are taken")


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _host(number: int, index: int) -> Iterator[Host]:
    """One of them. Its cable goes when its namespace does."""
    with subprocess.Popen(_HOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as holder:
        assert holder.stdin
        assert holder.stdout
        if not holder.stdout.readline():
            raise PartsError("no network namespace could be made: only root can")
        address, cable = _address(number, 2 + index), f"cwf{number}-{index}"
        # The kernel takes its time over those of a namespace that has just ended.
        subprocess.run(["ip", "link", "del", cable], check=False, capture_output=True)
        _ip(
            f"link add {cable} type veth peer name uplink netns {holder.pid}",
            f"link set {cable} master cwfleet{number} up",
        )
        host = Host(index, address, holder.pid)
        _ip(f"addr add {address}/24 dev uplink", "link set uplink up", "link set lo up", within=host.enter)
        try:
            yield host
        finally:
            holder.stdin.close()


def _ip(*lines: str, within: Sequence[str] = ()) -> None:
    done = subprocess.run(
        [*within, "ip", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise PartsError(f"ip {'; '.join(lines)}: {done.stderr.strip()}")
