"""What stays the same of this worker while it lives, for callers who inspect it."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass, field
from importlib.metadata import version

from pika import PlainCredentials

from protocol import celery_inspect
from protocol.celery_inspect import BrokerInfo
from protocol.codalab import RUN_TASK
from worker.broker.connection import HEARTBEAT, ConnectionParameters

_USAGE = [name for name in dir(resource.struct_rusage) if name.startswith("ru_")]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The queue it consumes, how many `slots` it has for runs, its broker, its process."""

    queue: str
    slots: int
    broker: BrokerInfo
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=time.monotonic)

    def stats(self, *, processed: int, clock: int) -> dict[str, object]:
        """Statistics as `inspect stats` shows them; `processed` runs were taken so far."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "total": {RUN_TASK: processed} if processed else {},
            "pid": self.pid,
            "clock": str(clock),
            "uptime": round(time.monotonic() - self.started),
            "pool": celery_inspect.pool(self.slots, self.pid),
            "broker": celery_inspect.broker(self.broker),
            "prefetch_count": self.slots,
            "rusage": {name.removeprefix("ru_"): getattr(usage, name) for name in _USAGE},
        }

    def report(self) -> str:
        """Versions and settings, as `inspect report` shows them."""
        software = {"codalab-worker": version("codalab-worker"), "pika": version("pika")}
        settings = celery_inspect.conf(self.broker, self.queue, self.slots)
        settings["task_queues"] = [self.queue]
        host = f"system:{platform.system()} kernel version:{platform.release()} imp:{platform.python_implementation()}"
        return celery_inspect.report({**software, "py": platform.python_version()}, host, settings)


def broker_info(settings: ConnectionParameters) -> BrokerInfo:
    """What may be told of the connection."""
    credentials = settings.credentials
    return BrokerInfo(
        host=settings.host,
        port=settings.port,
        user=credentials.username if isinstance(credentials, PlainCredentials) else "",
        vhost=settings.virtual_host,
        tls=settings.ssl_options is not None,
        heartbeat=float(HEARTBEAT),
    )
