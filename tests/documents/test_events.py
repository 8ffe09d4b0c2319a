"""docs/events.md lists every event that the code logs, with its level, and no other."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
_ROW = re.compile(r"^\| `(?P<event>[^`]+)` \| (?P<level>[a-z, ]+) \| (?P<meaning>.+) \|$", re.MULTILINE)
_STYLE = re.compile(r"[a-z][A-Za-z0-9 ,;'-]*")


@cache
def logged() -> frozenset[tuple[str, str]]:
    return frozenset(_calls())


def _calls() -> Iterator[tuple[str, str]]:
    """Event and level of every call of a logger in the daemon's code; the demo talks to a person by print."""
    files = [*ROOT.glob("worker/**/*.py"), *ROOT.glob("sandbox/**/*.py")]
    for file in files:
        if "demo" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=logger, attr=level)) if level in _LEVELS and _is_logger(logger):
                    event = node.args[0]
                    assert isinstance(event, ast.Constant), f"{file}:{node.lineno}: an event's name is a constant"
                    yield str(event.value), "error" if level == "exception" else level


def _is_logger(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name):
            return name in {"_log", "log", "logger"}
        case ast.Call(func=ast.Attribute(attr="get_logger")):
            return True
        case _:
            return False


def listed() -> set[tuple[str, str]]:
    rows = _ROW.finditer((ROOT / "docs" / "events.md").read_text(encoding="utf-8"))
    return {(row["event"], level) for row in rows for level in row["level"].split(", ")}


def test_the_list_of_events_is_complete_and_none_is_stale() -> None:
    assert listed() == logged()


def test_events_are_phrases_in_lower_case() -> None:
    assert [event for event, _ in logged() if not _STYLE.fullmatch(event)] == []
