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

# Text may be JSON, a repr, a shell's line or percent-encoded: `=`, `:` and quotation marks come in all these forms.
_IS = r"(?:[\"']?\s*(?:=|:|=>|%3D|%253D|%3A)\s*(?:%22|[\"'])?)"
_TO_ITS_END = r"[^&\s\"'<>,;)}\]]+"
# Each match is taken whole or bounded, so that no line of a stranger's costs more than its length.
_URL = re.compile(r"https?(?:://|%3A%2F%2F)[^\s\"'<>]*", re.IGNORECASE)
_QUERY = re.compile(r"(?:\?|%3F).*", re.IGNORECASE | re.DOTALL)
_USER_INFO = re.compile(
    r"(?<![a-z0-9+.-])([a-z][a-z0-9+.-]{0,20}(?:://|%3A%2F%2F))[^\s/\"'<>]{0,1000}(@|%40)", re.IGNORECASE
)
_SIGNATURE = re.compile(
    rf"((?:(?<![a-z])|(?<=%3F)|(?<=%26))sig|signature|X-(?:Amz|Goog)-(?:Credential|Security-Token)|AWSAccessKeyId"
    rf"|SharedAccessKey|AccountKey|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|X-Registry-Auth|identitytoken|registrytoken"
    rf"|secret|password|passwd){_IS}{_TO_ITS_END}",
    re.IGNORECASE,
)
# A scheme and then the credentials; of Digest and AWS4 all that follows on the line.
_AUTHORIZATION = re.compile(
    rf"((?:proxy-)?authorization){_IS}(?:(?:AWS4-HMAC-SHA256|Digest)[^\r\n]*|(?:[a-z]+\s+)?{_TO_ITS_END})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic|SharedAccessSignature|SharedKey)\s+[A-Za-z0-9+/=_.~:%&-]{8,}")
_SECRET_KEYS = re.compile(
    r"secret|passw(or)?d|(proxy-)?authorization|auth|x-registry-auth|credentials?|(.*[-_])?(token|signature|password|secret|key)",
    re.IGNORECASE,
)
_QUIET = {"pika": logging.CRITICAL, "urllib3": logging.ERROR, "docker": logging.WARNING}


def redact(text: str) -> str:
    """`text` without URL queries, credentials in URLs and headers, signatures and passwords that it names."""
    text = _URL.sub(lambda url: _QUERY.sub("?…", url[0]), text)
    text = _USER_INFO.sub(r"\1…\2", text)
    text = _SIGNATURE.sub(r"\1=…", _AUTHORIZATION.sub(r"\1=…", text))
    return _BEARER.sub(r"\1 …", text)


def _redact_value(value: object) -> object:
    match value:
        case str():
            return redact(value)
        case bytes() | bytearray():
            return redact(value.decode(errors="replace"))
        case Mapping():
            return {redact(str(key)): _redact_item(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redact_value(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact(str(value))


def _redact_item(key: str, value: object) -> object:
    return "…" if _SECRET_KEYS.fullmatch(key) else _redact_value(value)


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
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),  # the root logger's level decides
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _install_handler(level, shared, _renderer(log_format))


def set_level(level: str) -> None:
    """From now on only what is of that level, or above, is logged."""
    logging.getLogger().setLevel(level)


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
