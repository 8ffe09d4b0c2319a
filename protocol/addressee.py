"""Whom to tell of a run message that cannot be worked: what a site needs to find the submission."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeGuard

from protocol.faults import MessageFault
from protocol.plain_text import IDENTIFIER, has_control, is_identifier

MAX_SECRET = 512
_MAX_ID = 2**63 - 1
TASK_ID_RULE = "must be a whole number from 0, or up to 128 letters, digits and . _ : -"
TASK_ID_SCHEMA = (
    {"type": "integer", "minimum": 0, "maximum": _MAX_ID},
    {"type": "string", "pattern": f"^{IDENTIFIER.pattern}$"},
)
"""The same rule as JSON Schemas, one of which must fit."""


@dataclass(frozen=True, slots=True)
class Addressee:
    """The site's job id and the secret that proves to the site that an update is the worker's."""

    task_id: int | str
    secret: str = field(repr=False)


def is_task_id(value: object) -> TypeGuard[int | str]:
    """Whether the value may be a job id: a whole number from 0, or a text that is safe in a file name."""
    if isinstance(value, str):
        return is_identifier(value)
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID


def is_secret(value: object) -> TypeGuard[str]:
    """Whether the value may be a submission's secret."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SECRET and not has_control(value)


def addressee(args: object) -> Addressee | None:
    """Job id and secret out of the arguments `[task_id, {"secret": …}, …]`, None unless both can be read."""
    match args:
        case [task_id, {"secret": secret}, *_] if is_task_id(task_id) and is_secret(secret):
            return Addressee(task_id, secret)
        case _:
            return None


@contextmanager
def addressed(args: object) -> Iterator[None]:
    """Writes into a `MessageFault` that passes through whom the site's answer is for."""
    try:
        yield
    except MessageFault as fault:
        if found := addressee(args):
            fault.task_id, fault.secret = found.task_id, found.secret
        raise
