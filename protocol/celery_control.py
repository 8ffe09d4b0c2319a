"""Celery's remote control: requests that reach a worker's inbox, whom they are for, and how they are answered.

Facts behind each rule: protocol-facts.md 5, observed with Celery 3.1 to 5.7. Whoever may write to the exchange may
ask, so that a request is a stranger's: bounded, and never a way to have the worker write to where the stranger may not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeGuard

from protocol import json_text
from protocol.celery_envelope import Envelope
from protocol.faults import MessageFault
from protocol.plain_text import has_control

REQUEST_EXCHANGE = "celery.pidbox"
"""Fanout, not durable: each request reaches every worker of the virtual host."""

REPLY_EXCHANGE = "reply.celery.pidbox"
"""Direct, not durable: a caller's answers, by the routing key that the request names."""

INBOX_ARGUMENTS = {"x-expires": 10_000, "x-message-ttl": 300_000}
"""Of a worker's inbox, in milliseconds; beside them it is auto-delete and exclusive, as with Celery 5.7.

RabbitMQ 4.3 ends the connection of whoever declares a transient queue that is not exclusive, the form of Celery 4.4.
"""

MAX_NAME = 255
"""Most bytes of a method, a node's name, a pattern, a ticket or a routing key (an AMQP short string)."""

_NODE_PREFIX = "codalab-worker"
_MAX_HOST = 180  # bytes, so that the inbox's name fits into an AMQP short string
_UNFIT = re.compile(r"[^\w.:-]+")


class ControlRequestError(ValueError):
    """The message is no request that this worker answers; the text says why, and never quotes it."""


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """One request. `reply_key` is the routing key of its answers on `REPLY_EXCHANGE`, None where none is wanted."""

    method: str
    arguments: Mapping[str, object] = field(default_factory=dict, repr=False)
    destination: tuple[str, ...] = ()
    pattern: str | None = None
    matcher: str | None = None
    ticket: str | None = None
    reply_key: str | None = None

    def concerns(self, node: str) -> bool:
        """Whether the worker of that name is meant: named in `destination`, else matched, else everybody is.

        Patterns are Celery's `glob`. Its `pcre` is answered by nobody here: a stranger's regular expression can hold
        up a whole process.
        """
        if self.destination:
            return node in self.destination
        if self.pattern and self.matcher:
            return self.matcher == "glob" and fnmatchcase(node, self.pattern)
        return True


def node_name(hostname: str, identity: str = "") -> str:
    """This worker's name among Celery's, `codalab-worker@HOST`; `identity` tells two of one host apart."""
    host = _UNFIT.sub("-", hostname).encode()[:_MAX_HOST].decode(errors="ignore")
    return f"{_NODE_PREFIX}-{identity}@{host}" if identity else f"{_NODE_PREFIX}@{host}"


def inbox(node: str) -> str:
    """The name of that node's inbox queue."""
    return f"{node}.{REQUEST_EXCHANGE}"


def decode(body: bytes) -> ControlRequest:
    """The request in a message. Raises `ControlRequestError`.

    The header `expires` is left alone, as real workers leave it (protocol-facts.md 5.3).
    """
    try:
        document = json_text.parse(body, "request")
    except MessageFault as fault:
        raise ControlRequestError(fault.sentence) from None
    if not isinstance(document, dict):
        raise ControlRequestError("The request is no JSON object.")
    arguments = document.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise ControlRequestError("The request's arguments are no JSON object.")
    method = _name(document, "method")
    if not method:
        raise ControlRequestError("The request names no method.")
    return ControlRequest(
        method=method,
        arguments=arguments,
        destination=_destination(document.get("destination")),
        pattern=_name(document, "pattern"),
        matcher=_name(document, "matcher"),
        ticket=_name(document, "ticket"),
        reply_key=_reply_key(document.get("reply_to")),
    )


def encode_reply(node: str, result: object, *, ticket: str | None, clock: int) -> Envelope:
    """That node's answer; `clock` is its Lamport clock. Raises `ValueError` where `result` is not JSON."""
    return Envelope(
        body=json.dumps({node: result}, allow_nan=False).encode("ascii"),
        properties={
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "delivery_mode": 1,
            "priority": 0,
            "headers": {"ticket": ticket, "clock": clock},
        },
    )


def unknown_method(method: str) -> dict[str, object]:
    """What a real worker answers to a method that it does not know."""
    return {"error": repr(KeyError(method))}


def _name(document: Mapping[str, object], key: str) -> str | None:
    value = document.get(key)
    if value is None or _is_name(value):
        return value
    raise ControlRequestError(f"The request's {key} is no name.")


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and not has_control(value) and len(value.encode()) <= MAX_NAME


def _destination(value: object) -> tuple[str, ...]:
    match value:
        case None:
            return ()
        case str():
            return (value,)
        case list() if all(isinstance(name, str) for name in value):
            return tuple(value)
        case _:
            raise ControlRequestError("The request's destination is no list of names.")


def _reply_key(reply_to: object) -> str | None:
    """Answers go to the one exchange that every Celery names: any other is somebody's whom we are not to write to."""
    match reply_to:
        case None:
            return None
        case {"exchange": exchange, "routing_key": key} if exchange == REPLY_EXCHANGE and _is_name(key):
            return key
        case _:
            raise ControlRequestError(f"The request wants its answer elsewhere than on {REPLY_EXCHANGE}.")
