"""Puts the monitor together: what shows the figures, and what it may look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version

from config.settings import Settings
from protocol.run import Role
from sandbox import labels
from sandbox.engine import Stream
from sandbox.errors import SandboxError
from sandbox.usage import Usage, measure
from worker.broker.consumer import Consumer
from worker.broker.status_sink import AmqpStatusSink
from worker.kept.folders import RunFolder
from worker.observers import RunInWork
from worker.runs.handling import Handler
from worker.set_up import SetUpError
from worker.tools import Tools
from worker.watched import Monitor, NoMonitor, RunLoad, Watched

_MOST_LOOKED_AT = 20_000  # names in a run's output folders, counted while somebody waits for the page


def monitor(settings: Settings) -> Monitor:
    """What WORKER_METRICS asks for. Raises `SetUpError` where its address cannot be had."""
    if not settings.worker_metrics:
        return NoMonitor()
    from worker.monitoring.monitor import WebMonitor  # noqa: PLC0415 -- costs memory only where it is wanted

    host, _, port = settings.worker_metrics.rpartition(":")
    try:
        return WebMonitor(host.strip("[]"), int(port), gpus=settings.use_gpu)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SetUpError(f"WORKER_METRICS: cannot listen on {settings.worker_metrics}: {reason}.") from error


def watched(
    tools: Tools, handler: Handler, consumer: Consumer, updates: AmqpStatusSink, alive: Callable[[], bool]
) -> Watched:
    """The worker, for a monitor to look at."""
    return Watched(
        name=tools.settings.codalab_hostname,
        version=version("codalab-worker"),
        slots=len(tools.slots),
        busy=lambda: handler.busy_slots,
        leases=lambda: consumer.leases,
        links={"intake": lambda: consumer.is_connected, "updates": lambda: updates.is_connected},
        engine=partial(_answers, tools),
        alive=alive,
        free_disk=lambda: shutil.disk_usage(tools.temp_dir.path).free,
        least_disk=tools.settings.worker_min_free_disk,
        load=partial(_load, tools),
    )


def _answers(tools: Tools) -> bool:
    try:
        tools.sandbox.engine.ping()
    except SandboxError:
        return False
    return True


def _load(tools: Tools, run: RunInWork) -> RunLoad:
    memory = None
    with suppress(SandboxError):
        memory = _memory(tools, run)
    folder = tools.temp_dir.find_run(run.message_id)
    if not folder:
        return RunLoad(memory)
    most = Usage(1 << 62, _MOST_LOOKED_AT)
    found = measure((folder.output, *([folder.results] if run.docker_submission else [])), most=most)
    return RunLoad(memory, found.size + _logged(folder), more=found.exceeds(most))


def _memory(tools: Tools, run: RunInWork) -> int:
    engine = tools.sandbox.engine
    mine = {labels.WORKER: tools.worker_id, labels.RUN: run.message_id}
    return sum(engine.memory(container) for container in engine.find_containers(mine))


def _logged(folder: RunFolder) -> int:
    size = 0
    for path in (path for role in Role for stream in Stream for path in folder.logs(role, stream)):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size
