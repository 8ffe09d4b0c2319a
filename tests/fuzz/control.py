"""Remote control as a stranger on the broker may use it: whoever may write to its exchange may ask anything."""

from __future__ import annotations

import json
from collections.abc import Mapping

from structlog.testing import capture_logs

from protocol import celery_control
from protocol.celery_control import MAX_NAME, ControlRequest, ControlRequestError
from protocol.celery_events import LamportClock
from protocol.celery_inspect import BrokerInfo
from protocol.plain_text import is_identifier
from worker.broker.control_commands import NO_REPLY, Commands
from worker.broker.events import WorkerEvents
from worker.broker.node_facts import NodeFacts
from worker.observers import RunInWork

_NODE = "codalab-worker@host"
_RUN = "11111111-2222-4333-8444-555555555555"
_BROKER = BrokerInfo(host="broker", port=5672, user="guest", vhost="wire", tls=False, heartbeat=15.0)
_MOST_IDS = 1000
_MOST_REPLY = 1 << 20  # bytes; a request has at most an eighth of it here


class _Runs:
    """One is in work."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def active(self) -> tuple[RunInWork, ...]:
        return (RunInWork(_RUN, 4242, 1, 1795289668.5, 600.0, routing_key="compute-worker"),)

    def cancel(self, message_id: str) -> bool:
        self.cancelled.append(message_id)
        return message_id == _RUN

    def revoked(self) -> tuple[str, ...]:
        return tuple(self.cancelled)


def ask(headers: Mapping[str, object], body: bytes) -> None:
    """One request, to its answer: it is refused in a line, or answered in JSON, and no run is harmed but by its id."""
    clock = LamportClock()
    clock.witness(headers.get("clock"))
    try:
        request = celery_control.decode(body)
    except ControlRequestError as error:
        _is_a_line(str(error))
        return
    request.concerns(_NODE)
    _is_answered(request, clock)


def _is_a_line(text: str) -> None:
    assert text
    assert "\n" not in text


def _is_answered(request: ControlRequest, clock: LamportClock) -> None:
    runs, events = _Runs(), WorkerEvents()
    events.start(lambda: None)
    commands = Commands(NodeFacts("compute-worker", 1, _BROKER), runs, events, clock, lambda: None)
    with capture_logs() as logged:
        result = commands.answer(request, _NODE)
    assert not [line for line in logged if line["log_level"] == "error"], logged
    assert len(runs.cancelled) <= _MOST_IDS
    assert all(map(is_identifier, runs.cancelled))
    if request.reply_key is not None and result is not NO_REPLY:
        assert len(request.reply_key.encode()) <= MAX_NAME
        reply = celery_control.encode_reply(_NODE, result, ticket=request.ticket, clock=clock.tick())
        assert len(reply.body) <= _MOST_REPLY
        assert list(json.loads(reply.body)) == [_NODE]
