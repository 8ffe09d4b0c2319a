"""After a start: what an earlier process of this worker left, and whose it is now.

Containers and folders of runs whose journal can be gone on with wait for their messages; all else is removed at
once. While its containers run such a run has its slot, for it has its share of the host. A message that does not
come is another worker's by now: what waits for it is removed without a word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from sandbox import labels
from sandbox.engine import ContainerEngine
from sandbox.errors import EngineRefused, SandboxError
from sandbox.slots import Share
from sandbox.sweep import remove_all_but, remove_leftovers
from worker.broker.lease_terms import RETURNED_WITHIN
from worker.host_usage import boot_id
from worker.kept.journal_record import Record
from worker.tools import Tools

CLAIM_WITHIN = 60.0
"""Seconds after the first connection to the broker in which messages come again, where leases do not tell sooner."""

_log = structlog.get_logger(__name__)


class Recovery:
    """What waits to be gone on with. Its calls may come from any thread."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._lock = threading.Lock()
        self._waiting: dict[str, Record] = {}
        self._computing: set[str] = set()
        self.on_given_up: Callable[[], None] = lambda: None
        """Called when nothing waits any more, and what did is removed."""
        self._timer: threading.Timer | None = None

    def sweep(self) -> None:
        """Removes what nobody owns; what can be gone on with keeps its GPUs. Raises `EngineUnreachable`."""
        self._waiting = {record.message_id: record for record in self._tools.journals.unconfirmed()}
        for record in list(self._waiting.values()):
            if not record.terminal and not self._tools.temp_dir.has_run(record.folder):
                self._forget(record)
                self._tools.images.release(record.message_id)
        engine, mine = self._tools.sandbox.engine, {labels.WORKER: self._tools.worker_id}
        computing = [record.folder for record in self._waiting.values() if not record.terminal]
        containers = remove_all_but(engine, mine, [{**mine, labels.FOLDER: folder} for folder in computing])
        removed = self._tools.temp_dir.clear_runs({record.folder for record in self._waiting.values()})
        if containers or removed:
            _log.warning("removed what an earlier worker left", containers=containers, folders=removed)
        for record in self._waiting.values():
            self._reserve(record)
            _log.info("waiting for the message of a run that can be resumed", run=record.message_id)

    @property
    def computing(self) -> int:
        """Runs whose containers go on while their messages have not come."""
        with self._lock:
            return len(self._computing)

    def connected(self, leased: bool) -> None:
        """Messages can come now: from here on their time runs; less where runs are `leased`, for leases end."""
        with self._lock:
            if self._timer is None and self._waiting:
                self._timer = threading.Timer(self._time(leased=leased), self.give_up)
                self._timer.daemon = True
                self._timer.start()

    def _time(self, *, leased: bool) -> float:
        return min(RETURNED_WITHIN, self._tools.settings.worker_lease_ttl) if leased else CLAIM_WITHIN

    def claim(self, message_id: str) -> None:
        """That message has come."""
        with self._lock:
            self._waiting.pop(message_id, None)
            self._computing.discard(message_id)

    def give_up(self) -> None:
        """No other messages are ours, or will be: what waits for them is removed."""
        with self._lock:
            others = list(self._waiting.values())
            for record in others:
                self._forget(record)
        for record in others:
            _log.info("removed what was left of a run that is not ours any more", run=record.message_id)
            abandon(record, self._tools)
        with self._lock:
            self._computing.clear()
        self.on_given_up()

    def close(self) -> None:
        """Waits for nothing any more; the next start finds what is left."""
        if self._timer is not None:
            self._timer.cancel()

    def _forget(self, record: Record) -> None:
        self._waiting.pop(record.message_id, None)
        self._tools.journals.remove(record)

    def _reserve(self, record: Record) -> None:
        """Its containers may have their share of the host still, and any that follow are to have the same."""
        if record.published or record.terminal or record.boot != boot_id():
            return
        if (share := Share(record.gpus, record.cpuset)) != Share():
            self._tools.slots.reserve(record.message_id, share)
        engine = self._tools.sandbox.engine
        if any(_is_running(engine, container) for container in engine.find_containers(_marks(record, self._tools))):
            self._computing.add(record.message_id)


def abandon(record: Record, tools: Tools) -> None:
    """Removes what an earlier process left of that run, and what was kept for it: nobody goes on with it."""
    tools.images.release(record.message_id)
    tools.journals.remove(record)
    remove_containers(record, tools)
    tools.temp_dir.remove_run(record.folder)
    tools.slots.release(record.message_id)


def remove_containers(record: Record, tools: Tools) -> None:
    """Removes those of an earlier process that nobody goes on with; where the engine is away, the next start does."""
    try:
        if record.folder:
            remove_leftovers(tools.sandbox.engine, _marks(record, tools))
    except SandboxError as error:
        _log.warning("left for the next start", run=record.message_id, reason=str(error))


def _marks(record: Record, tools: Tools) -> dict[str, str]:
    return {labels.WORKER: tools.worker_id, labels.FOLDER: record.folder}


def _is_running(engine: ContainerEngine, container: str) -> bool:
    try:
        return engine.inspect(container).running
    except EngineRefused:  # somebody has removed it in this very moment
        return False
