"""What text from a stranger may hold before it goes into a log, a header or a database."""

from __future__ import annotations

import re

# C0, DEL, C1, the two separators that break a line of a log, and halves of surrogate pairs (not in UTF-8).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HARMLESS_CONTROLS = "\t\n\r"

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def has_control(text: str, *, allow_lines: bool = False) -> bool:
    """Whether the text holds control characters or lone surrogates; `allow_lines` allows tab, LF and CR."""
    found = _UNPRINTABLE.findall(text)
    return any(not (allow_lines and character in _HARMLESS_CONTROLS) for character in found)


def scrubbed(text: str) -> str:
    """The text with U+FFFD for each control character but tab, LF and CR.

    PostgreSQL refuses NUL and lone surrogates: a site that is sent one never stores the status.
    """
    return _UNPRINTABLE.sub(_scrub_one, text)


def is_identifier(text: str) -> bool:
    """Whether the text may be an id: up to 128 of letters, digits and ``._:-``, safe in a file name."""
    return IDENTIFIER.fullmatch(text) is not None


def _scrub_one(match: re.Match[str]) -> str:
    return match[0] if match[0] in _HARMLESS_CONTROLS else "\ufffd"
