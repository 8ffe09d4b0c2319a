"""docs/security.md: what it names is there, what it promises has a test, and what it counts is so."""

from __future__ import annotations

import re
from pathlib import Path

from config.settings import Settings
from tests.contract.test_bench_security import NOT_OURS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:tests|worker|sandbox|protocol|config|docs)/[^`]*)`")
SETTING = re.compile(r"\b((?:WORKER|DOCKER|SUBMISSION)_[A-Z_]+|USE_GPU)\b")
NUMBERS = {"nine": 9, "eight": 8, "ten": 10}


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below that heading, without its head."""
    _, _, rest = TEXT.partition(f"\n## {heading}\n")
    rows = re.findall(r"^\|(.*)\|$", rest.partition("\n## ")[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def test_every_file_that_is_named_exists() -> None:
    named = PATH.findall(TEXT)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_promise_names_its_test() -> None:
    promises = table("What is promised, and how it is tested")
    assert len(promises) >= 15
    assert [promise for promise, tests in promises if not PATH.search(tests)] == []


def test_every_stronger_wall_names_its_test() -> None:
    walls = table("Stronger walls")
    assert [cells[0] for cells in walls if not any(PATH.search(cell) for cell in cells)] == []


def test_every_setting_that_is_named_is_one() -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert set(SETTING.findall(TEXT)) <= known


def test_the_number_of_checks_that_are_not_ours_is_told() -> None:
    (told,) = re.findall(r"section, (\w+) checks are not ours", TEXT)
    assert NUMBERS[told] == len(NOT_OURS)


def test_the_readme_leads_there() -> None:
    assert "(docs/security.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
