"""Bundles that are missing, empty, cut, no archives or traps: the organiser's, the participant's and the site's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import docker
import pytest

from sandbox.logs import size
from tests.support.competition import PROGRAM, REF, Competition, Submission
from tests.support.hostile_archives import absolute, cut, huge, linked, lying, slipping
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

LIMIT = 4 << 20  # bytes that a bundle may have
Make = Callable[[Competition], Submission]
RES = {"answer.txt": b"42"}
BUNDLES = {"program.zip": PROGRAM, "ref.zip": REF, "res.zip": RES}
WHOSE = {
    "program.zip": ("The organiser's scoring program", "The organiser must upload it again."),
    "ref.zip": ("The organiser's reference data", "The organiser must upload it again."),
    "run.txt": ("The organiser's run bundle", "The organiser must upload it again."),
    "res.zip": ("Your submission", "Make a new zip archive of it, and submit again."),
}


TRAPS: dict[str, tuple[Callable[[Mapping[str, bytes]], bytes], str]] = {
    "empty": (lambda _: b"", "it is empty"),
    "cut": (cut, "it is damaged or cut short"),
    "a bomb that lies": (lying, "it is damaged or cut short (bomb)"),
    "a bomb that does not": (huge, f"it unpacks to more than {size(LIMIT)}"),
    "a slip": (slipping, "it holds a path that leads out of it (../../../../slipped)"),
    "an absolute path": (absolute, "it holds an absolute path (/slipped)"),
    "a link": (linked, "it holds a symbolic link (link)"),
}


def bundle(name: str, data: bytes | None) -> Make:
    """A plain scoring run, one of whose bundles is that (None: is not there)."""
    bundles = {"res.zip": zipped(RES), name: data}
    return lambda competition: competition.submission(bundles=bundles)


def documents(run: Mapping[str, str], given: Mapping[str, str] | None = None) -> Make:
    lines = {"run.txt": run, **({"input.txt": given} if given else {})}
    return lambda competition: competition.submission(bundles={"res.zip": zipped(RES)}, documents=lines)


def refused(what: str, status: int = 404) -> str:
    reason = f"The platform's store refused to hand out {what} (HTTP {status}): its link has expired or leads nowhere"
    return f"{reason}; submit again, or tell its operator. It is the platform's fault, not yours."


def unpackable(name: str, reason: str) -> str:
    """What is wrong in it is named to the participant in their own archive only: organisers' may be hidden."""
    whose, mend = WHOSE[name]
    reason = reason if name == "res.zip" else reason.partition(" (")[0]
    return f"{whose} cannot be unpacked: {reason}. {mend}"


GOOD = {"program": "program.zip", "input": "input.txt"}
MANY = {f"bundle{number}": "ref.zip" for number in range(33)}
NO_PROGRAM = "The organiser's run bundle names no program, so there is nothing to run."
NO_MAPPING = (
    "The organiser's scoring program cannot be run: its metadata file is not a YAML mapping;"
    " its metadata must hold a line `command: …`."
)
ENDS: dict[str, tuple[Make, str]] = {
    **{
        f"{name} is {trap}": (bundle(name, make(content)), unpackable(name, reason))
        for name, content in BUNDLES.items()
        for trap, (make, reason) in TRAPS.items()
    },
    "res.zip is no zip": (bundle("res.zip", b"41\n"), unpackable("res.zip", "it is no zip archive")),
    "res.zip is too large": (
        bundle("res.zip", zipped({"noise": os.urandom(LIMIT)})),
        f"Your submission is too large: it has more than {size(LIMIT)}. {WHOSE['res.zip'][1]}",
    ),
    # What is no archive is a document, as it always was: the program's is no metadata, and the data lack a file.
    "program.zip is no zip": (
        bundle("program.zip", b"\0\1\2 nothing"),
        NO_MAPPING,
    ),
    "ref.zip is no zip": (
        bundle("ref.zip", b"\0\1\2 nothing"),
        "The organiser's scoring program ended with exit code 1; its stderr says more.",
    ),
    "run.txt is empty": (bundle("run.txt", b""), unpackable("run.txt", "it is empty")),
    "run.txt is a cut zip": (
        bundle("run.txt", cut({"program/metadata": b"command: true"})),
        unpackable("run.txt", "it is damaged or cut short"),
    ),
    "run.txt names no program": (documents({"input": "input.txt"}), NO_PROGRAM),
    "run.txt names a file of the host": (documents({"program": "file:///etc/passwd"}), NO_PROGRAM),
    "run.txt is a list": (bundle("run.txt", b"- program\n- input\n"), NO_PROGRAM),
    "run.txt is no YAML": (bundle("run.txt", b"\x89PNG\r\n\x1a\n{[:"), NO_PROGRAM),
    "run.txt names too many": (
        documents({**GOOD, **MANY}),
        "The organiser's run bundle names 35 bundles; a run has at most 32.",
    ),
    "input.txt names too many": (
        documents(GOOD, MANY),
        "The organiser's run bundle names 33 bundles; a run has at most 32.",
    ),
    "run.txt is not there": (bundle("run.txt", None), refused("the run bundle")),
    "program.zip is not there": (bundle("program.zip", None), refused("the scoring program")),
    "ref.zip is not there": (bundle("ref.zip", None), refused("the reference data")),
    "res.zip is not there": (bundle("res.zip", None), refused("your submission")),
}

# What the site sends in the place of a docker submission's results, and the line that the log has on it.
STAND_INS: dict[str, tuple[bytes | None, str]] = {
    "not there": (None, "could not be fetched: HTTP 404"),
    "empty": (b"", "is empty"),
    "no zip": (b"this is not a docker submission", "is no zip archive"),
    "cut": (cut(RES), "is damaged or cut short"),
    "hostile": (slipping(RES), "holds a path that leads out of it"),
}
PLACES = ("../../evil", "/tmp/evil", "..", "temp", "a b")


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    with station(site, owner, settings, tmp_path_factory.mktemp("bundles"), WORKER_BUNDLE_LIMIT=str(LIMIT)) as here:
        yield here


@pytest.fixture(scope="module")
def runs(here: Station, competition: Competition) -> Mapping[str, Submission]:
    """All of them, under way side by side."""
    return here.publish_all({name: make(competition) for name, (make, _) in ENDS.items()})


@pytest.fixture(scope="module")
def stand_ins(here: Station, competition: Competition) -> Mapping[str, Submission]:
    made = {name: competition.docker_submission(bundles={"res.zip": data}) for name, (data, _) in STAND_INS.items()}
    no_address = {"input.txt": {"ref": "ref.zip", "res": ""}}
    return here.publish_all({**made, "no address": competition.docker_submission(documents=no_address)})


@pytest.mark.parametrize(("name", "sentence"), [(name, told) for name, (_, told) in ENDS.items()], ids=list(ENDS))
def test_the_site_is_told_whose_bundle_it_was(
    here: Station, runs: Mapping[str, Submission], name: str, sentence: str
) -> None:
    assert here.failed(runs[name]) == sentence
    assert runs[name].has("stdout.txt")
    assert runs[name].has("stderr.txt")
    scored = name == "ref.zip is no zip"
    assert runs[name].has("output.zip") == scored
    assert scored or runs[name].read("stdout.txt") == b""


@pytest.mark.parametrize("name", STAND_INS)
def test_a_docker_submission_needs_no_results_bundle(
    here: Station, stand_ins: Mapping[str, Submission], name: str
) -> None:
    run = stand_ins[name]
    here.finished(run)
    assert run.archive()["scores.txt"] == b"correct: 1\n"
    notes = [line for line in run.text("stderr.txt").splitlines() if line.startswith("[codalab-worker]")]
    assert len(notes) == 1
    assert "your container's output takes its place" in notes[0]
    assert notes[0].endswith(f"{STAND_INS[name][1]})")


def test_a_docker_submission_needs_no_address_of_results(here: Station, stand_ins: Mapping[str, Submission]) -> None:
    here.finished(stand_ins["no address"])
    assert "[codalab-worker]" not in stand_ins["no address"].text("stderr.txt")


def test_a_document_cannot_have_a_bundle_put_elsewhere(here: Station, competition: Competition) -> None:
    run = documents({**GOOD, **dict.fromkeys(PLACES, "ref.zip")})(competition)
    here.publish(run)
    here.finished(run)
    notes = run.text("stderr.txt").splitlines()[1:]
    assert sorted(note.split(" was not fetched: ")[0].removeprefix("[codalab-worker] ") for note in notes) == sorted(
        place if place == "temp" else repr(place) for place in PLACES
    )


def test_a_signature_is_not_shown_to_programs(here: Station, competition: Competition) -> None:
    """They print what they find."""
    show = {"metadata": b"command: cat /codalab/run/metadata /codalab/run/input/metadata\n"}
    run = competition.submission(bundles={"program.zip": zipped(show), "res.zip": zipped(RES)})
    here.publish(run)
    here.finished(run)
    assert "/ref.zip\n" in run.text("stdout.txt")
    assert "?" not in run.text("stdout.txt")


def test_nothing_slipped_out_of_the_runs_folders(here: Station, runs: Mapping[str, Submission]) -> None:
    for name in ("program.zip is a slip", "res.zip is an absolute path"):
        here.told(runs[name])
    assert not Path("/slipped").exists()
    walked = os.walk(here.worker.temp_dir.parent)  # which does not mind that folders of ended runs are being removed
    assert not [where for where, folders, files in walked if "slipped" in (*folders, *files)]


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
