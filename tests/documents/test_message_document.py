"""docs/message.md says what the code says: its tables, its samples and the tests that it names."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from protocol.codalab import json_schema, parse_message_file
from protocol.run import UploadSlot
from protocol.status import RunMetadata
from tests.support import document
from worker.bundles.document import _MOST_LINKS, _NO_BUNDLES, read_document
from worker.stages.program import _PLACES

ROOT = Path(__file__).parents[2]
SECTIONS = document.TEXT.split("\n## ")[1:]


def test_the_table_of_fields_is_that_of_the_code() -> None:
    assert document.field_table() in document.TEXT, "python -m tests.support.document prints it anew"


def test_the_table_of_places_is_that_of_the_code() -> None:
    rows = document.table("name")
    assert {name.strip("`"): row["place"].strip("`") for name, row in rows.items()} == _PLACES


def test_the_table_of_metadata_is_that_of_the_code() -> None:
    assert [key.strip("`") for key in document.table("key of metadata")] == [key.name for key in fields(RunMetadata)]


def test_every_upload_slot_is_in_the_table_of_results() -> None:
    assert set(re.findall(r"\w+_url", " ".join(document.table("where")))) == {slot.value for slot in UploadSlot}


def test_the_sample_message_is_one() -> None:
    text = document.sample("MESSAGE.json")
    Draft202012Validator(json_schema()).validate(json.loads(text))
    request = parse_message_file(text, message_id="m").request
    assert request.submission is not None
    assert request.extra == {}


def test_the_sample_documents_name_the_bundles_of_a_run(tmp_path: Path) -> None:
    for name, keys in {"run.txt": ["program", "input"], "input.txt": ["ref", "res"]}.items():
        (tmp_path / name).write_text(document.sample(name), "utf-8")
        found = read_document(tmp_path / name)
        assert found is not None
        assert list(found.links) == keys


def test_what_is_never_fetched_is_all_named() -> None:
    (line,) = re.findall(r"^\* Never fetched either.*?:(.*?)\.$", document.TEXT, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([\w-]+)`", line)) == _NO_BUNDLES
    assert f"A document may name {_MOST_LINKS} bundles." in " ".join(document.TEXT.split())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_every_section_names_its_tests_and_they_are_there(section: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", section.rpartition("\nTests: ")[2])
    assert named
    assert not [path for path in named if not (ROOT / path).is_file()]


def test_every_link_leads_somewhere() -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", document.TEXT, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", document.TEXT):
        path, _, anchor = target.partition("#")
        assert (ROOT / "docs" / path).exists()
        assert not anchor or anchor in headings


def test_every_sentence_that_is_quoted_is_one_that_a_test_of_that_section_expects() -> None:
    (section,) = [section for section in SECTIONS if section.startswith("Faults\n")]
    expected = [text for path in re.findall(r"`(tests/[\w/]+\.py)`", section) for text in _texts(ROOT / path)]
    for row in document.table("whose").values():
        assert row["for example"].startswith(row["first words"])
        assert [text for text in expected if text.strip().startswith(row["for example"])], row["for example"]


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
