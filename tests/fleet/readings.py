"""What the broker says of itself, by its management API: totals that only grow, and what is there at the moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil

from tests.fleet.place import Place

COUNTED = ("publish", "confirm", "deliver", "get", "get_empty", "ack", "redeliver", "return_unroutable")
"""Of a channel's `message_stats`; deliveries that need no acknowledgement are added to the others."""
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """`messages` and `octets` are by link (a worker's connection: runs, updates, control; or the site's).

    Sizes are in bytes; `memory` is what Erlang uses, its garbage collected, `memory_by_use` as the broker explains it.
    `cpu_before` and `cpu` are seconds of the broker's process, apart by what this reading took.
    """

    connections: int
    channels: int
    queues: int
    consumers: int
    messages_left: int
    messages: Mapping[str, Counter[str]]
    octets: Mapping[str, Counter[str]]
    declared: int
    cpu_before: float
    cpu: float
    memory: int
    memory_by_use: Mapping[str, int]
    resident: int
    peak_resident: int
    files: int
    erlang_processes: int

    @property
    def at_rest(self) -> tuple[object, ...]:
        """What stays as it is while no run is in work."""
        counts = self.connections, self.channels, self.queues, self.consumers
        return *counts, *(self.messages.get(link) for link in ("runs", "updates"))


def read(place: Place) -> Reading:
    """How things are, and have come to be; some of it is as old as the broker's interval of statistics."""
    ask = place.management.get
    (node,) = cast("list[dict[str, Any]]", ask("nodes"))
    process = psutil.Process(int(node["os_pid"]))
    before, overview = _cpu(process), cast("dict[str, Any]", ask("overview"))
    if not place.quick:
        place.broker.collect_garbage()
    memory = cast("dict[str, Any]", ask(f"nodes/{node['name']}/memory"))["memory"]
    totals, links = overview["object_totals"], _links(place)
    return Reading(
        connections=totals["connections"],
        channels=totals["channels"],
        queues=totals["queues"],
        consumers=totals["consumers"],
        messages_left=_messages_left(place),
        messages=_messages(place, links),
        octets=_octets(links),
        declared=overview["churn_rates"]["queue_declared"],
        cpu_before=before,
        memory=memory["total"]["erlang"],
        memory_by_use={use: size for use, size in memory.items() if isinstance(size, int)},
        resident=process.memory_info().rss,
        peak_resident=_peak(process.pid),
        files=process.num_fds(),
        erlang_processes=node["proc_used"],
        cpu=_cpu(process),
    )


def _cpu(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def _links(place: Place) -> list[dict[str, Any]]:
    """The connections, each with the name that its client gave it."""
    return cast("list[dict[str, Any]]", place.management.get("connections"))


def _link(connection: Mapping[str, Any]) -> str:
    """`codalab-worker HOST runs` is `runs`."""
    return str(connection["client_properties"]["connection_name"]).rpartition(" ")[2]


def _messages(place: Place, links: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    names = {connection["name"]: _link(connection) for connection in links}
    found: dict[str, Counter[str]] = {}
    for channel in cast("list[dict[str, Any]]", place.management.get("channels")):
        link = names.get(channel["connection_details"]["name"])
        if link:
            stats = channel.get("message_stats", {})
            counter = found.setdefault(link, Counter())
            counter.update({what: stats.get(what, 0) for what in COUNTED})
            counter["deliver"] += stats.get("deliver_no_ack", 0)
    return found


def _octets(links: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for connection in links:
        counter = found.setdefault(_link(connection), Counter())
        counter.update({"in": connection["recv_oct"], "out": connection["send_oct"]})
    return found


def _messages_left(place: Place) -> int:
    """In the runs' vhost: waiting, leased or retried."""
    queues = cast("list[dict[str, Any]]", place.management.get(f"queues/{place.owner.vhost}"))
    return sum(int(queue.get("messages", 0)) for queue in queues)


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:"))
