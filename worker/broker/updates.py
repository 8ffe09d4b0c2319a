"""Status updates as a person or a script reads them, off the wire or fresh from the pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from protocol import json_text
from protocol.faults import MessageFault
from protocol.status import State, StatusUpdate


class WithdrawnError(Exception):
    """An update was not sent, for what it was provided with was not so when its turn came."""


@dataclass(frozen=True, slots=True)
class Update:
    """What an update says, without its secret."""

    task_id: object
    status: str
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        """True where no other follows."""
        return self.status in {State.FINISHED, State.FAILED}

    @property
    def traceback(self) -> str:
        """What the site is told of a failure."""
        return str(self.extra.get("traceback") or "")

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(
            {"task_id": self.task_id, "status": self.status, "extra": self.extra}, ensure_ascii=False, default=str
        )


def read_update(body: bytes) -> Update | None:
    """The update in a message body of either Celery protocol; None where it is something else."""
    try:
        document = json_text.parse(body)
    except MessageFault:
        return None
    match document:
        case {"args": [task_id, {"status": status, **rest}, _secret]}:
            return _update(task_id, status, rest.get("extra"))
        case [[task_id, {"status": status, **rest}, _secret], *_]:
            return _update(task_id, status, rest.get("extra"))
        case _:
            return None


def _update(task_id: object, status: object, extra: object) -> Update:
    return Update(task_id, str(status), extra if isinstance(extra, dict) else {})


class CallbackSink:
    """An `UpdateSink` that hands each update to a function at once: for commands without a broker."""

    def __init__(self, show: Callable[[Update], None]) -> None:
        self._show = show

    def send(self, update: StatusUpdate, _provided: Callable[[], bool]) -> Future[None]:
        """Shows the update at once; the future is done already."""
        task_id, document, _secret = update.arguments()
        extra = document["extra"]
        self._show(Update(task_id, update.state, extra if isinstance(extra, dict) else {}))
        future: Future[None] = Future()
        future.set_result(None)
        return future
