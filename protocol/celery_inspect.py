"""What a Celery worker tells of itself when it is inspected, in the shapes that callers and Flower read.

Shapes observed with Celery 3.1 to 5.7 (protocol-facts.md 5.3, 6.1): Celery 3.1 has names of its own for some of these
(`dump_active`) and text where later versions have JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A run as a monitor may see it: `args` are a public summary, never the message's own. Times are epoch seconds."""

    id: str
    name: str
    args: tuple[object, ...]
    time_start: float
    exchange: str
    routing_key: str
    priority: int
    redelivered: bool


@dataclass(frozen=True, slots=True)
class BrokerInfo:
    """The connection's other end, without the password; `heartbeat` is seconds."""

    host: str
    port: int
    user: str
    vhost: str
    tls: bool
    heartbeat: float

    def url(self) -> str:
        """As Celery shows it, the password as stars."""
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{self.user}:********@{self.host}:{self.port}/{self.vhost}"


def task(info: TaskInfo, *, node: str, pid: int, dialect_3: bool = False) -> dict[str, object]:
    """A run in work: its message is held, not acknowledged, so that a worker that dies gives it back."""
    document: dict[str, object] = {
        "id": info.id,
        "name": info.name,
        "args": repr(list(info.args)) if dialect_3 else list(info.args),
        "kwargs": "{}" if dialect_3 else {},
        "type": info.name,
        "hostname": node,
        "time_start": info.time_start,
        "acknowledged": False,
        "delivery_info": {
            "exchange": info.exchange,
            "routing_key": info.routing_key,
            "priority": info.priority,
            "redelivered": info.redelivered,
        },
        "worker_pid": pid,
    }
    if dialect_3:
        del document["type"]
    return document


def queue(name: str) -> dict[str, object]:
    """A queue that is consumed, in full: Flower's page of the worker fails where a key is missing."""
    exchange = {"name": name, "type": "direct", "arguments": None, "durable": True, "passive": False}
    limits = ("expires", "message_ttl", "max_length", "max_length_bytes", "max_priority")
    return {
        "name": name,
        "exchange": {**exchange, "auto_delete": False, "delivery_mode": None, "no_declare": False},
        "routing_key": name,
        **dict.fromkeys(("queue_arguments", "binding_arguments", "consumer_arguments")),
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "no_ack": False,
        "alias": None,
        "bindings": [],
        "no_declare": None,
        **dict.fromkeys(limits),
    }


def broker(info: BrokerInfo) -> dict[str, object]:
    """The part of the statistics that tells of the broker."""
    return {
        "hostname": info.host,
        "userid": info.user,
        "virtual_host": info.vhost,
        "port": info.port,
        "insist": False,
        "ssl": info.tls,
        "transport": "amqp",
        "connect_timeout": 10,
        "transport_options": {},
        "login_method": "PLAIN",
        "uri_prefix": None,
        "heartbeat": info.heartbeat,
        "failover_strategy": "round-robin",
        "alternates": [],
    }


def pool(slots: int, pid: int) -> dict[str, object]:
    """The part of the statistics that tells how much is done at a time: `slots` runs, in threads of one process."""
    return {
        "implementation": "codalab-worker:slots",
        "max-concurrency": slots,
        "processes": [pid],
        "max-tasks-per-child": "N/A",
        "put-guarded-by-semaphore": False,
        "timeouts": [0, 0],
    }


def conf(info: BrokerInfo, queue_name: str, slots: int) -> dict[str, object]:
    """The settings that mean something to Celery, by its names since version 4."""
    return {
        "broker_url": info.url(),
        "worker_concurrency": slots,
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
        "task_queues": [queue(queue_name)],
    }


def conf_3(info: BrokerInfo, slots: int) -> dict[str, object]:
    """The same by the names of Celery 3.1."""
    return {
        "BROKER_URL": info.url(),
        "BROKER_USE_SSL": info.tls,
        "CELERY_ACCEPT_CONTENT": ["json"],
        "CELERY_TASK_SERIALIZER": "json",
        "CELERYD_CONCURRENCY": slots,
        "CELERYD_PREFETCH_MULTIPLIER": 1,
    }


def report(software: Mapping[str, str], platform: str, settings: Mapping[str, object]) -> str:
    """The text of `celery report`: versions by name, the platform, the settings."""
    versions = " ".join(f"{name}:{version}" for name, version in software.items())
    head = f"\nsoftware -> {versions}\nplatform -> {platform}\nsettings -> transport:pika results:disabled\n\n"
    return head + "".join(f"{name}: {value!r}\n" for name, value in settings.items())
