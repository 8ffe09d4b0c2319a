"""Celery's messages, task protocol 1 and 2, without Celery.

Facts behind each rule: protocol-facts.md 1 (what clients send), 2.1 (which hand-made messages
every site worker accepts) and 8 (what real workers do with bad ones), all observed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from protocol import json_text
from protocol.addressee import addressed
from protocol.faults import MessageFault
from protocol.plain_text import is_identifier

_CONTENT_TYPE = "application/json"
_ENCODINGS = frozenset({"utf-8", "utf8"})
_ZLIB = frozenset({"application/x-gzip", "gzip", "zlib"})  # kombu's three names for one thing: zlib
_PROTOCOL_2_PARTS = 3


@dataclass(frozen=True, slots=True)
class CeleryTask:
    """One call of a task. `id` is Celery's own; `expires` is when the sender no longer wants it run."""

    name: str
    id: str
    args: tuple[object, ...] = field(repr=False)
    kwargs: Mapping[str, object] = field(repr=False)
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message ready to publish; `properties` are AMQP basic properties by their standard names."""

    body: bytes = field(repr=False)
    properties: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What either protocol says, before anything of it is checked."""

    name: object
    id: object
    args: object
    kwargs: object
    expires: object


def decode(
    body: bytes,
    *,
    headers: Mapping[str, object] | None,
    content_type: str | None,
    content_encoding: str | None,
) -> CeleryTask:
    """The task call in a delivery. Keyword arguments are the delivery's AMQP properties, None where absent.

    Raises `MessageFault`, which holds the site's task id and secret where they can be read.
    """
    _check_content(content_type, content_encoding)
    headers = headers or {}
    document = json_text.parse(_inflated(body, headers.get("compression")))
    # Protocol 2 is told by this header alone: a dead-lettered protocol-1 message has headers, too.
    parts = _protocol_2(document, headers) if "task" in headers else _protocol_1(document)
    with addressed(parts.args):
        return _checked(parts)


def encode(name: str, args: Sequence[object], *, task_id: str) -> Envelope:
    """The call as task protocol 1, in the form that every Celery since 3.1 accepts; `task_id` is Celery's id.

    Raises `MessageFault` where `args` hold a number that JSON has not (NaN, Infinity).
    """
    return Envelope(
        body=_body(name, list(args), task_id),
        properties={
            "content_type": _CONTENT_TYPE,
            "content_encoding": "utf-8",
            "delivery_mode": 2,
            "priority": 0,
            "correlation_id": task_id,
            "headers": {},
        },
    )


def _body(name: str, args: list[object], task_id: str) -> bytes:
    document = {
        "task": name,
        "id": task_id,
        "args": args,
        "kwargs": {},
        "retries": 0,
        "eta": None,
        "expires": None,
        "utc": True,
        "timelimit": [None, None],
        "callbacks": None,
        "errbacks": None,
        "chord": None,
        "taskset": None,
    }
    try:
        return json.dumps(document, allow_nan=False).encode("ascii")
    except ValueError:
        raise MessageFault("The run message holds NaN or Infinity, which are not JSON.") from None


def _check_content(content_type: str | None, content_encoding: str | None) -> None:
    if content_type != _CONTENT_TYPE:
        raise MessageFault(f"The run message's content_type must be {_CONTENT_TYPE}.", field="content_type")
    if content_encoding is not None and content_encoding.lower() not in _ENCODINGS:
        raise MessageFault("The run message's content_encoding must be utf-8.", field="content_encoding")


def _inflated(body: bytes, compression: object) -> bytes:
    """The body as it was before the sender's compression, never more than one byte above the limit."""
    if compression is None:
        return body
    if not isinstance(compression, str) or compression not in _ZLIB:
        raise MessageFault("The run message's compression must be zlib or none.", field="compression")
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(body, json_text.MAX_BYTES + 1)
    except zlib.error:
        inflated = b""
    if not inflater.eof and len(inflated) <= json_text.MAX_BYTES:
        raise MessageFault("The run message is not the zlib data that its compression header says.")
    return inflated


def _protocol_1(document: object) -> _Parts:
    if not isinstance(document, dict):
        raise MessageFault("The run message must be a JSON object (Celery task protocol 1).")
    name, task_id, args = (document.get(key) for key in ("task", "id", "args"))
    return _Parts(name, task_id, args, document.get("kwargs", {}), document.get("expires"))


def _protocol_2(document: object, headers: Mapping[str, object]) -> _Parts:
    if not isinstance(document, list) or len(document) != _PROTOCOL_2_PARTS:
        with addressed(document[0] if isinstance(document, list) and document else None):
            raise MessageFault("The run message must be [args, kwargs, embed] (Celery task protocol 2).")
    args, kwargs, _ = document
    return _Parts(headers["task"], headers.get("id"), args, kwargs, headers.get("expires"))


def _checked(parts: _Parts) -> CeleryTask:
    if not isinstance(parts.name, str):
        raise MessageFault("The run message names no task.", field="task")
    if not isinstance(parts.id, str) or not is_identifier(parts.id):
        raise MessageFault("The run message's id is missing or no valid task id.", field="id")
    if not isinstance(parts.args, list):
        raise MessageFault("The run message's args must be a list.", field="args")
    if not isinstance(parts.kwargs, dict):
        raise MessageFault("The run message's kwargs must be an object.", field="kwargs")
    return CeleryTask(parts.name, parts.id, tuple(parts.args), parts.kwargs, _time(parts.expires))


def _time(value: object) -> datetime | None:
    """An ISO 8601 text or AMQP timestamp; without an offset it is UTC, as Celery sends it."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(time, datetime):
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise MessageFault("The run message's expires must be an ISO 8601 time.", field="expires")
