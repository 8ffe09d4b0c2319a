"""docs/message.md as tests read it: its tables, its samples, and the table of fields that is made from the code.

`python -m tests.support.document` prints that table, to be put into the document.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from protocol.codalab import json_schema

TEXT = (Path(__file__).parents[2] / "docs" / "message.md").read_text("utf-8")
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


def sample(name: str) -> str:
    """The text of the block that is fenced under that name."""
    found = re.findall(rf"^```\w+ {re.escape(name)}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{len(found)} samples are called {name}"
    return str(found[0])


def table(first_column: str) -> dict[str, dict[str, str]]:
    """The one table whose first column has that heading: its rows, by their first cell and the columns' headings."""
    (lines,) = [lines for lines in _tables() if _cells(lines[0])[0] == first_column]
    headings = _cells(lines[0])
    rows = [_cells(line) for line in lines[2:]]
    assert all(len(row) == len(headings) for row in rows), f"a row of the table {first_column} is not whole"
    return {row[0]: dict(zip(headings, row, strict=True)) for row in rows}


def field_table() -> str:
    """What each field of `task_args` may be, from the JSON Schema of the code."""
    schema: dict[str, Any] = json_schema()
    task_args = schema["$defs"]["TaskArgs"]
    lines = ["| field | what it may be | where absent | meaning |", "| --- | --- | --- | --- |"]
    for name, rule in task_args["properties"].items():
        absent = "an error" if name in task_args["required"] else _shown(rule["default"])
        lines.append(f"| `{name}` | {_kind(rule)} | {absent} | {rule['description']} |")
    return "\n".join(lines)


def _tables() -> list[list[str]]:
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _shown(default: object) -> str:
    return "empty" if default == "" else json.dumps(default)


def _kind(rule: dict[str, Any]) -> str:
    kinds = [kind["type"] for kind in rule.get("anyOf", [])] or rule["type"]
    names = ", ".join(_TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    if "pattern" in rule:
        names = names.replace("text", "http or https URL")
    return f"{names}; {rule['maxLength']} characters at most" if "maxLength" in rule else names


if __name__ == "__main__":
    print(field_table())  # noqa: T201 -- it is for a person
