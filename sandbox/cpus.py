"""Which CPUs a host has, how they lie beside each other, and how they are dealt out in disjoint sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

_SYSFS = Path("/sys/devices/system/cpu")


def cpu_sets(order: Sequence[int], count: int) -> tuple[str, ...]:
    """Disjoint sets of as many CPUs each, in the kernel's list format; none where there is no whole CPU for each.

    What is left over belongs to nobody: sets of different sizes would make a run's time a matter of luck.
    """
    width = len(order) // count
    if not width:
        return ()
    return tuple(cpu_list(order[place * width : (place + 1) * width]) for place in range(count))


def cpu_order(count: int, sysfs: Path = _SYSFS) -> tuple[int, ...]:
    """The CPUs of a host that has `count`, so that neighbours share most: a core, then a NUMA node, then a socket.

    Where this host has another number of them, or does not tell, the engine's is another: they are 0 to `count` - 1.
    """
    try:
        online = cpus_of((sysfs / "online").read_text(encoding="ascii"))
        if len(online) == count:
            return tuple(sorted(online, key=lambda cpu: (*_place(sysfs / f"cpu{cpu}"), cpu)))
    except (OSError, ValueError):
        pass
    return tuple(range(count))


def cpu_list(cpus: Iterable[int]) -> str:
    """As the kernel writes it: `0-3,8`."""
    runs = groupby(enumerate(sorted(cpus)), key=lambda pair: pair[1] - pair[0])
    ends = ([cpu for _, cpu in run] for _, run in runs)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


def cpus_of(text: str) -> frozenset[int]:
    """The CPUs of such a list. Raises ValueError where it is none."""
    return frozenset(cpu for part in text.strip().split(",") if part for cpu in _range(part))


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def _place(cpu: Path) -> Iterator[int]:
    """Its socket, its NUMA node, and the first of the threads on its core."""
    yield int((cpu / "topology" / "physical_package_id").read_text(encoding="ascii"))
    yield min((int(node.name.removeprefix("node")) for node in cpu.glob("node[0-9]*")), default=0)
    yield min(cpus_of((cpu / "topology" / "thread_siblings_list").read_text(encoding="ascii")))
