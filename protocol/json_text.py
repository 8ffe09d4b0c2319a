"""JSON from a stranger: bounded in size and depth, each fault told in one sentence."""

from __future__ import annotations

import json

from protocol.faults import MessageFault

MAX_BYTES = 1 << 20
"""Most bytes of a message; real ones have about 4 KiB."""

MAX_DEPTH = 32
"""Most levels of nesting; real messages have 4. Much deeper ones could be read, but not written again."""


def parse(body: bytes, what: str = "run message") -> object:
    """The document in a UTF-8 body. NaN and Infinity pass, as they do with Celery: each field checks its own.

    Raises `MessageFault`, never quoting it, where it is too large, not UTF-8, not JSON or nested too deep.
    """
    if len(body) > MAX_BYTES:
        raise MessageFault(f"The {what} is larger than {MAX_BYTES} bytes.")
    document = _loaded(body, what)
    if _is_deeper_than(MAX_DEPTH, document):
        raise _too_deep(what)
    return document


def _loaded(body: bytes, what: str) -> object:
    try:
        document: object = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MessageFault(f"The {what} is not UTF-8 (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MessageFault(f"The {what} is not JSON ({where}).") from None
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError:  # Python's bound on the digits of an integer
        raise MessageFault(f"The {what} holds a number of too many digits.") from None
    return document


def _is_deeper_than(levels: int, document: object) -> bool:
    """Level by level, for recursion is what a deep document is meant to exhaust."""
    level = [document]
    for _ in range(levels + 1):
        level = [child for value in level for child in _children(value)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep(what: str) -> MessageFault:
    return MessageFault(f"The {what} nests deeper than {MAX_DEPTH} levels.")
