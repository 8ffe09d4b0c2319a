"""Logging: one event a line to stderr, with everything secret taken out before it is written.

Redaction sits in the logger, not at the call: also what libraries log passes through it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_URL_QUERY = re.compile(r"(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE)
_USER_INFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@\"']*@", re.IGNORECASE)
_SIGNATURE = re.compile(
    r"((?:\bsig|\bsignature|X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token))(?:=|%3D|\"?:\s*\"?))[^&\s\"',}]+",
    re.IGNORECASE,
)
_SECRET_KEYS = frozenset({"secret", "password", "auth", "authorization", "token", "credentials"})
_QUIET = {"pika": logging.CRITICAL, "urllib3": logging.ERROR, "docker": logging.WARNING}


def redact(text: str) -> str:
    """`text` without URL queries, credentials in URLs, or signatures."""
    text = _URL_QUERY.sub(r"\1?…", text)
    return _SIGNATURE.sub(r"\1…", _USER_INFO.sub(r"\1…@", text))


def _redact_value(value: object) -> object:
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {key: _redact_item(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redact_value(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact(str(value))


def _redact_item(key: str, value: object) -> object:
    return "…" if key.lower() in _SECRET_KEYS else _redact_value(value)


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that every event passes last, just before it is rendered."""
    return {key: value if key.startswith("_") else _redact_item(key, value) for key, value in event.items()}


def configure(level: str, log_format: str) -> None:
    """Sets logging up for this process: `log_format` is `json`, `console`, or `auto` (text on a terminal)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _install_handler(level, shared, _renderer(log_format))


def _renderer(log_format: str) -> Processor:
    if log_format == "json" or (log_format == "auto" and not sys.stderr.isatty()):
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())


def _install_handler(level: str, shared: list[Processor], renderer: Processor) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def bind_run(**facts: object) -> MutableMapping[str, object]:
    """Binds facts of a run to every event that this thread logs from now on, in place of the last run's."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**facts)
    return structlog.contextvars.get_contextvars()
