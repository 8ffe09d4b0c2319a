"""The `.env` example, made from the settings: every name, its meaning and its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from config.old_names import NOT_TAKEN_OVER, OLD_NAMES
from config.settings import Settings
from config.units import parse_duration, parse_size, show_size

_WIDTH = 100
_HEAD = """\
# Settings of codalab-worker. Made by `codalab-worker config --example`; copy it to .env, chmod 600 .env.
# Sizes are bytes, or 512m, 10GiB; durations seconds, or 10s, 5m, 1h. A line that begins with # is a default."""
_REQUIRED = {"broker_url": "pyamqp://user:password@host:5672/vhost"}


def example() -> str:
    """The text of `config/codalab-worker.env.example`."""
    lines = [_HEAD]
    for name, field in Settings.model_fields.items():
        lines += ["", *_comment(field.description or ""), _assignment(name, field)]
    return "\n".join([*lines, "", *_old_names()]) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _assignment(name: str, field: FieldInfo) -> str:
    if name in _REQUIRED:
        return f"{name.upper()}={_REQUIRED[name]}"
    return f"#{name.upper()}={_default(field)}"


def _default(field: FieldInfo) -> str:
    reads = {getattr(reader, "func", None) for reader in field.metadata}
    match field.default:
        case int() as value if parse_size in reads:
            return show_size(value)
        case float() as value if parse_duration in reads:
            return f"{value:g}s"
        case bool() as value:
            return str(value).lower()
        case float() as value:
            return f"{value:g}"
        case tuple() | None:
            return ""
        case value:
            return "" if field.default_factory else str(value)


def _old_names() -> Iterator[str]:
    yield "# Names of the workers that this one replaces are understood; each start names those to change:"
    for old in OLD_NAMES:
        yield f"#   {old.name} -> {old.new}"
    yield "# These have no meaning here:"
    for name, why in NOT_TAKEN_OVER.items():
        yield f"#   {name}: {why}"
