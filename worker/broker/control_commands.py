"""The methods of Celery's remote control: what each does here, and what it answers.

Each method has the answers that a real worker gives (protocol-facts.md 5.3), under the names of Celery 3.1 and under
those since 4. What a run's message or the operator's settings decide is declined in a sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import structlog

from protocol import celery_control, celery_inspect
from protocol.celery_control import ControlRequest
from protocol.celery_events import LamportClock
from protocol.codalab import RUN_TASK
from protocol.plain_text import is_identifier
from worker.broker.events import WorkerEvents
from worker.broker.node_facts import NodeFacts
from worker.broker.run_info import task_info
from worker.observers import RunInWork

_MAX_IDS = 1000  # of one request

_DECLINED = {
    "pool_grow": "The pool has a fixed size: set WORKER_CONCURRENCY and restart the worker.",
    "pool_shrink": "The pool has a fixed size: set WORKER_CONCURRENCY and restart the worker.",
    "pool_restart": "The worker is restarted by its service manager.",
    "autoscale": "The pool has a fixed size: set WORKER_CONCURRENCY and restart the worker.",
    "add_consumer": "The worker has one queue: set WORKER_QUEUE and restart the worker, or start another one.",
}
_RATE_DECLINED = "Runs have no rate limit here: set WORKER_CONCURRENCY and restart the worker."
_TIME_DECLINED = "A run's time limit is in its message: set it in the competition's phase."

_log = structlog.get_logger(__name__)


class Runs(Protocol):
    """What remote control may see and do of runs; each returns at once."""

    def active(self) -> tuple[RunInWork, ...]:
        """Those in work."""
        ...

    def cancel(self, message_id: str) -> bool:
        """Ends that run: now if it is in work here (True), else when its message comes."""
        ...

    def revoked(self) -> tuple[str, ...]:
        """The message ids that were cancelled."""
        ...


_Command = Callable[[Mapping[str, object], str], object]
"""Given the request's arguments and the worker's name."""


class NoReply:
    """The answer to what a real worker does not answer."""


NO_REPLY: Final = NoReply()


class _BadRequestError(ValueError):
    """The arguments make no sense; the text says why."""


class Commands:
    """Answers requests. `on_shutdown` is called when one asks the worker to finish its runs and end."""

    def __init__(
        self,
        facts: NodeFacts,
        runs: Runs,
        events: WorkerEvents,
        clock: LamportClock,
        on_shutdown: Callable[[], None],
    ) -> None:
        self._facts = facts
        self._runs = runs
        self._events = events
        self._clock = clock
        self._on_shutdown = on_shutdown
        self._commands = self._table()

    def answer(self, request: ControlRequest, node: str) -> object:
        """Does what is asked of the worker of that name; the result is JSON, or `NO_REPLY`."""
        if request.method in _DECLINED:
            return {"error": _DECLINED[request.method]}
        if not (command := self._commands.get(request.method)):
            return celery_control.unknown_method(request.method)
        try:
            return command(request.arguments, node)
        except _BadRequestError as error:
            return {"error": str(error)}
        except Exception:  # noqa: BLE001 -- the link's thread outlives every bug
            _log.exception("a bug in remote control", method=request.method)
            return {"error": "The worker met an unexpected error; its operator finds it in the log."}

    def _table(self) -> Mapping[str, _Command]:
        facts, runs = self._facts, self._runs
        return {
            "ping": lambda *_: {"ok": "pong"},
            "clock": lambda *_: {"clock": self._clock.value},
            "stats": lambda *_: facts.stats(processed=self._events.processed, clock=self._clock.value),
            "active_queues": lambda *_: [celery_inspect.queue(facts.queue)],
            "conf": lambda *_: celery_inspect.conf(facts.broker, facts.queue, facts.slots),
            "dump_conf": lambda *_: celery_inspect.conf_3(facts.broker, facts.slots),
            "report": lambda *_: {"ok": facts.report()},
            **dict.fromkeys(("registered", "dump_tasks"), lambda *_: [RUN_TASK]),
            **dict.fromkeys(("revoked", "dump_revoked"), lambda *_: list(runs.revoked())),
            # No message waits inside this worker.
            **dict.fromkeys(("reserved", "dump_reserved", "scheduled", "dump_schedule"), lambda *_: []),
            "active": lambda _, node: [self._task(run, node) for run in runs.active()],
            "dump_active": lambda _, node: [self._task(run, node, dialect_3=True) for run in runs.active()],
            "query_task": self._query_task,
            "revoke": self._revoke,
            "shutdown": self._shut_down,
            "enable_events": lambda *_: self._enable_events("enabled"),
            "disable_events": lambda *_: self._enable_events("disabled"),
            "heartbeat": lambda *_: self._events.tell_worker("heartbeat"),
            "hello": self._hello,
            "cancel_consumer": self._cancel_consumer,
            "rate_limit": lambda arguments, _: _declined_of_task(arguments, _RATE_DECLINED),
            "time_limit": lambda arguments, _: _declined_of_task(arguments, _TIME_DECLINED),
        }

    def _query_task(self, arguments: Mapping[str, object], node: str) -> object:
        wanted = set(_ids(arguments.get("ids")))
        runs = [run for run in self._runs.active() if run.message_id in wanted]
        return {run.message_id: ["active", self._task(run, node)] for run in runs}

    def _task(self, run: RunInWork, node: str, *, dialect_3: bool = False) -> dict[str, object]:
        return celery_inspect.task(task_info(run), node=node, pid=self._facts.pid, dialect_3=dialect_3)

    def _shut_down(self, _arguments: Mapping[str, object], _node: str) -> object:
        self._on_shutdown()
        return NO_REPLY

    def _revoke(self, arguments: Mapping[str, object], _node: str) -> object:
        ids, terminate = _ids(arguments.get("task_id")), bool(arguments.get("terminate"))
        _log.info("revoke", runs=ids, terminate=terminate)
        if not terminate:
            self._keep_from_starting(ids)
            return {"ok": f"tasks {', '.join(ids)} flagged as revoked"}
        ended = [one for one in ids if self._runs.cancel(one)]
        return {"ok": f"terminate: {', '.join(ended) or 'tasks unknown'}"}

    def _keep_from_starting(self, ids: Iterable[str]) -> None:
        in_work = {run.message_id for run in self._runs.active()}
        for one in ids:
            if one not in in_work:
                self._runs.cancel(one)

    def _enable_events(self, how: str) -> dict[str, object]:
        changed = self._events.enable_tasks(how == "enabled")
        return {"ok": f"task events {'' if changed else 'already '}{how}"}

    def _hello(self, arguments: Mapping[str, object], node: str) -> object:
        """A worker that starts says what it knows to be revoked, and is told what we know, in its own form."""
        if arguments.get("from_node") == node:
            return None
        theirs = arguments.get("revoked")
        self._keep_from_starting(_ids(list(theirs) if isinstance(theirs, dict | list) else None))
        ours = self._runs.revoked()
        revoked = dict.fromkeys(ours, time.time()) if isinstance(theirs, dict) else list(ours)
        return {"revoked": revoked, "clock": self._clock.value}

    def _cancel_consumer(self, arguments: Mapping[str, object], _node: str) -> object:
        queue = arguments.get("queue")
        if queue == self._facts.queue:
            return {"error": "The worker has no other queue: shut it down instead."}
        return {"ok": f"no longer consuming from {queue}"}


def _declined_of_task(arguments: Mapping[str, object], reason: str) -> dict[str, object]:
    return {"error": reason if arguments.get("task_name") == RUN_TASK else "unknown task"}


def _ids(value: object) -> tuple[str, ...]:
    """One id or a list of them, each once. Raises `_BadRequestError`."""
    ids = [value] if isinstance(value, str) else value
    if not isinstance(ids, list | None) or len(ids or ()) > _MAX_IDS:
        raise _BadRequestError(f"Task ids come as a text, or as a list of at most {_MAX_IDS}.")
    if not all(isinstance(one, str) and is_identifier(one) for one in ids or ()):
        raise _BadRequestError("A task id has up to 128 letters, digits and . _ : -")
    return tuple(dict.fromkeys(ids or ()))
