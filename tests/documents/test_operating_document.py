"""docs/operating.md, docs/comparison.md and README.md: what they name is there, and what they quote is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.old_names import NOT_TAKEN_OVER, OLD_NAMES
from config.settings import Settings
from sandbox.engine_facts import HostFacts
from sandbox.slots import Share
from tests.documents.test_events import logged
from tests.support import operating
from worker.profiles import make_profiles

ROOT = Path(__file__).parents[2]
README, OPERATING, COMPARISON = (
    (ROOT / name).read_text("utf-8") for name in ("README.md", "docs/operating.md", "docs/comparison.md")
)
TROUBLE = OPERATING.partition("\n## Troubleshooting\n")[2].partition("\n## ")[0]
PATH = re.compile(
    r"`((?:tests|worker|sandbox|protocol|config|constraints|docs)/[^`]*)`|\]\(((?:docs|config)?[^():#]*\.\w+)"
)
SETTING = re.compile(r"\b(?:WORKER|DOCKER|SUBMISSION|BROKER|USE|LOG)_[A-Z_]+[A-Z]\b")
JOINT = re.compile(r"\"\s*\n\s*f?\"")
CALL = re.compile(r"(?:operating\.run|documented|pool\.submit\(documented,|worker_image\.build)\D*?\"([\w-]+)\"")
SAID = re.compile(r"“([^”]+)”")


def rows(text: str) -> list[list[str]]:
    """The cells of all its tables."""
    return [[cell.strip() for cell in row.split(" | ")] for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE)]


def strings() -> str:
    """The daemon's code, with texts that go on in the next line in one piece."""
    files = [file for package in ("worker", "sandbox") for file in (ROOT / package).rglob("*.py")]
    return JOINT.sub("", "\n".join(file.read_text("utf-8") for file in files))


@pytest.mark.parametrize(("text", "folder"), [(README, ROOT), (OPERATING, ROOT / "docs"), (COMPARISON, ROOT / "docs")])
def test_every_file_that_is_named_exists(text: str, folder: Path) -> None:
    for named, linked in PATH.findall(text):
        assert (ROOT / named).exists() if named else (folder / linked).exists(), named or linked


@pytest.mark.parametrize("text", [README, OPERATING])
def test_every_setting_that_is_named_is_one(text: str) -> None:
    known = {name.upper() for name in Settings.model_fields} | {old.name for old in OLD_NAMES} | NOT_TAKEN_OVER.keys()
    assert {name for name in SETTING.findall(text) if not any(one.startswith(name) for one in known)} == set()


def test_every_link_within_the_document_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATING, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", OPERATING)) <= anchors


def test_the_symptoms_quote_events_and_sentences_as_they_are() -> None:
    events, said = {event for event, _ in logged()}, strings()
    symptoms = rows(TROUBLE)
    assert len(symptoms) > 40
    quoted = {text for row in symptoms for text in re.findall(r"`([a-z][a-z ,;'-]+ [a-z ,;'-]+)`", row[0])}
    assert {text for text in quoted if text not in events and not re.match(r"docker |pip |\d", text)} == set()
    sentences = [part.strip() for row in symptoms for text in SAID.findall(row[0]) for part in text.split("…")]
    assert len(sentences) > 15
    assert [text for text in sentences if text not in said] == []


def test_the_arithmetic_of_capacity_is_the_workers() -> None:
    host = HostFacts("host", "", 16, 64 << 30, "linux", swap_limit=True, runtimes=(), cdi=False)
    given = make_profiles(Settings(worker_concurrency=4), host, [Share(cpuset="0-3")] * 4).participant
    share = f"{given.memory / (1 << 30):.1f} GiB, {given.cpus:g} CPUs and a GPU"
    assert f"are {share}" in " ".join(OPERATING.split())


def test_every_old_name_is_in_the_lines_of_moving_over() -> None:
    moving = OPERATING.partition("\n## Moving over")[2].partition("\n## ")[0]
    exempt = {"MAIN_BROKER_URL", "WORKER_BUNDLE_URL_REWRITE", "BROKER_SSL_CA_CERTS", "SERIALIZED"}
    written = re.sub(r"…_HTTPS_PROXY", "COMPETITION_CONTAINER_HTTPS_PROXY", moving)
    names = {old.name for old in OLD_NAMES} | NOT_TAKEN_OVER.keys()
    assert {name for name in names - exempt if name not in written and "DISABLE_" not in name} == set()


def test_the_readmes_comparison_is_part_of_the_whole() -> None:
    shown = rows(README.partition("\n## Beside today's workers\n")[2].partition("\n## ")[0])
    whole = rows(COMPARISON)
    assert len(shown) > 6
    assert [row for row in shown if row not in whole] == []


def test_every_letter_of_the_comparison_is_explained() -> None:
    letters = {
        letter for cells in re.findall(r"\(([a-z](?:, [a-z])*)\)(?= \||;)", COMPARISON) for letter in cells.split(", ")
    }
    assert letters == set(re.findall(r"^(?:\* )?\(([a-z])\) ", COMPARISON, re.MULTILINE))


def test_every_command_that_is_said_to_be_tried_is_run_by_a_test() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("*/*.py") if path != Path(__file__))
    called = set(CALL.findall(tests))
    assert operating.commands().keys() - called - {"compose"} == set()  # that is the last line of the README's


def test_the_readmes_install_is_the_documents() -> None:
    install = operating.commands()["install"].splitlines()
    assert [operating.commands()["build"].strip(), operating.commands()["compose"].strip()] == [install[0], install[2]]
