"""What a run's bundles become on the disk, as its program finds them, and which addresses are asked for at all.

What is damaged, missing or a trap is in test_bad_bundles.py, and so is what stands in for a docker submission's res.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.support.bad_store import BadStore
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

# Leaves what it finds: every file's text by its path in the run's folder.
TREE = b"""
import json, pathlib
run = pathlib.Path("/codalab/run")
found = {str(path.relative_to(run)): path.read_text(errors="replace") for path in run.rglob("*") if path.is_file()}
(run / "output" / "found.json").write_text(json.dumps(found))
"""
COMMAND = b"command: python3 $program/tree.py\n"
PROGRAM = {"metadata": COMMAND, "tree.py": TREE}
INLINE = f"command: {json.dumps(f'python3 -c {shlex.quote(TREE.decode())}')}\n"
REF, RES = {"truth.txt": b"42"}, {"answer.txt": b"41"}
TRAP = "trap.zip"
DESTINATIONS = ("stdout", "stderr", "output", "private_output")
FACTS = ("description", "command", "exitCode", "elapsedTime", "submitted-by", "submitted-at")

Make = Callable[[Competition], Submission]


def scoring(
    documents: Mapping[str, Mapping[str, str]] | None = None, task_args: Mapping[str, str] | None = None, **more: bytes
) -> Make:
    """A scoring run; `more` are bundles (`ref_zip` is ref.zip), `documents` the lines of run.txt and input.txt."""
    bundles = {"program.zip": zipped(PROGRAM), "ref.zip": zipped(REF), "res.zip": zipped(RES)}
    bundles.update({name.replace("_", "."): data for name, data in more.items()})
    return lambda competition: competition.submission(bundles=bundles, documents=documents, **(task_args or {}))


def with_trap(make: Callable[[str], Make]) -> Make:
    """One that holds an address which is not to be followed; unsigned, for its programs give it back to the site."""
    return lambda competition: make(competition.url(competition.container, TRAP).partition("?")[0])(competition)


GOOD = {"program": "program.zip", "input": "input.txt"}
RUNS: dict[str, Make] = {
    "whole run in a zip": with_trap(
        lambda trap: scoring(
            run_txt=zipped(
                {
                    "run/metadata": f"hidden_ref: {trap}".encode(),
                    "run/program/metadata": COMMAND,
                    "run/program/tree.py": TREE,
                    "run/input/metadata": f"ref: {trap}".encode(),
                    "run/input/ref/truth.txt": b"in the zip",
                }
            )
        )
    ),
    "zips of any name": scoring(
        {"run.txt": {"program": "program.bin", "input": "input"}, "input": {"ref": "ref.txt", "res": "res.zip"}},
        program_bin=zipped(PROGRAM),
        ref_txt=zipped(REF),
    ),
    "folders": scoring(
        program_zip=zipped({f"mine/{name}": data for name, data in PROGRAM.items()} | {"__MACOSX/mine/._x": b"junk"}),
        ref_zip=zipped({"mine/truth.txt": b"42"}),
        res_zip=zipped({"mine/metadata": b"by me", "other.txt": b"not alone"}),
    ),
    "zips in zips": scoring(
        ref_zip=zipped({"2024.zip": zipped({**REF, "deeper.zip": zipped({})}), "sub/stays.zip": zipped(REF)}),
    ),
    "documents": with_trap(
        lambda trap: scoring(
            program_zip=f"{INLINE}data: {trap}\n".encode(),
            ref_zip=f"data: {trap}\nyear: 2024\n".encode(),
        )
    ),
    "text": scoring(
        {"run.txt": {**GOOD, "notes": "notes.txt", "list": "list.txt"}},
        input_txt=b"no: [yaml",
        notes_txt=b"Just words: and: more",
        list_txt=b"- one\n- two\n",
    ),
    "more than a site sends": scoring(
        {"input.txt": {"ref": "ref.zip", "res": "res.zip", "year_2.a-b": "ref.zip", "answer": "", "ftp": "ftp://a/b"}},
    ),
    "destinations and facts": with_trap(
        lambda trap: scoring(
            {"run.txt": {**GOOD, **dict.fromkeys((*DESTINATIONS, *FACTS), trap)}, "input.txt": {"ref": "ref.zip"}}
        )
    ),
    "addresses in anybody's zip": with_trap(
        lambda trap: scoring(
            program_zip=zipped({**PROGRAM, "metadata": COMMAND + f"data: {trap}\n".encode()}),
            ref_zip=zipped({**REF, "metadata": f"data: {trap}\n".encode()}),
            res_zip=zipped({**RES, "metadata": f"data: {trap}\n".encode()}),
        )
    ),
}


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    with station(site, owner, settings, tmp_path_factory.mktemp("bundles")) as here:
        yield here


@pytest.fixture(scope="module")
def runs(here: Station, competition: Competition, store: BadStore) -> Mapping[str, Submission]:
    """All of them, under way side by side."""
    counted = Competition(competition.store, competition.container, competition.image, store.endpoint)
    competition.store.put(f"{competition.container}/{TRAP}", zipped({"trapped.txt": b"trapped"}))
    return here.publish_all({name: make(counted) for name, make in RUNS.items()})


@pytest.fixture
def found(here: Station, runs: Mapping[str, Submission]) -> Callable[[str], dict[str, str]]:
    """What the program of that run found in the run's folder, but for itself."""

    def found(name: str) -> dict[str, str]:
        here.finished(runs[name])
        everything: dict[str, str] = json.loads(runs[name].archive()["found.json"])
        return {path: text for path, text in everything.items() if not path.startswith(("program/", "metadata"))}

    return found


Found = Callable[[str], dict[str, str]]


def test_a_run_may_come_as_one_zip_and_a_lone_folder_with_metadata_is_lifted(found: Found) -> None:
    seen = found("whole run in a zip")
    assert seen.pop("input/metadata").startswith("ref: http://")
    assert seen == {"input/ref/truth.txt": "in the zip"}


def test_a_zip_is_known_by_its_content_not_by_its_name(found: Found) -> None:
    seen = found("zips of any name")
    seen.pop("input/metadata")
    assert seen == {"input/ref/truth.txt": "42", "input/res/answer.txt": "41"}


def test_only_a_lone_folder_that_holds_metadata_is_lifted(found: Found) -> None:
    seen = found("folders")  # the program was lifted, or nothing would have run
    seen.pop("input/metadata")
    assert seen == {
        "input/ref/mine/truth.txt": "42",
        "input/res/mine/metadata": "by me",
        "input/res/other.txt": "not alone",
    }


def test_zips_directly_inside_become_folders_of_their_names(found: Found) -> None:
    assert found("zips in zips").keys() == {
        "input/metadata",
        "input/ref/2024/truth.txt",
        "input/ref/2024/deeper.zip",
        "input/ref/sub/stays.zip",
        "input/res/answer.txt",
    }


def test_what_is_no_zip_is_kept_as_metadata_without_its_signatures(found: Found) -> None:
    """A program can be such a document: its command is then all of it."""
    seen = found("documents")
    assert seen["input/ref/metadata"].startswith("data: http://")
    assert seen.keys() == {"input/metadata", "input/ref/metadata", "input/res/answer.txt"}


def test_what_is_no_yaml_mapping_is_text(found: Found) -> None:
    assert found("text") == {
        "input/metadata": "no: [yaml",
        "notes/metadata": "Just words: and: more",
        "list/metadata": "- one\n- two\n",
    }


def test_whatever_the_input_document_names_is_fetched_below_it(found: Found) -> None:
    seen = found("more than a site sends")
    seen.pop("input/metadata")
    assert seen == {"input/ref/truth.txt": "42", "input/res/answer.txt": "41", "input/year_2.a-b/truth.txt": "42"}


@pytest.mark.parametrize("name", ["destinations and facts", "addresses in anybody's zip"])
def test_such_addresses_lead_nowhere(found: Found, name: str) -> None:
    assert not [path for path in found(name) if "trapped" in path]


def test_every_bundle_was_asked_for_once_and_nothing_else_ever(
    here: Station, runs: Mapping[str, Submission], competition: Competition, store: BadStore
) -> None:
    for run in runs.values():
        here.told(run)
    ordinary = runs["destinations and facts"]
    asked = [store.count("GET", ordinary.blob(name)) for name in ("run.txt", "program.zip", "input.txt", "ref.zip")]
    assert asked == [1, 1, 1, 1]
    assert store.count("GET", f"{competition.container}/{TRAP}") == 0
