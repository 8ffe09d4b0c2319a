"""What of a run comes to the store, in which order, and that it comes whole."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.bad_store import BadStore, Fault
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import SLOTS, zipped

pytestmark = pytest.mark.acceptance

INGESTION = {"ingestion_program_output_url": "fed.txt", "ingestion_program_stderr_url": "feeding.txt"}
LOGS = ("stdout.txt", "stderr.txt", *INGESTION.values())
ARCHIVES = ("output.zip", "private_output.zip", "detailed_results.html")
NOISE = os.urandom(5_000_000)
LARGE = 300_000_000

EVERYTHING = """
echo '<p>details' > $1/detailed_results.html; echo '<p>first' > $1/a.html; echo 'correct: 1' > $1/scores.txt
mkdir -p $1/private/deep $1/public/private; echo hidden > $1/private/deep/key; echo open > $1/public/private/page
echo scored; echo remark >&2
"""
LEGACY = "mkdir $1/a $1/private; echo deep > $1/a/a.html; echo '<p>z' > $1/z.HTML; echo hidden > $1/private/b.html"


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    with station(site, owner, settings, tmp_path_factory.mktemp("results")) as here:
        yield here


def leaving(contest: Competition, script: str, **changes: Any) -> Submission:
    """A scoring run whose program is this shell script (`$1` is the output folder), an ingestion program beside it."""
    feed = zipped({"metadata": b"command: sh -c 'echo fed; echo feeding >&2'\n"})
    run = contest.submission(
        bundles={
            "program.zip": zipped({"metadata": b"command: sh $program/run.sh $output\n", "run.sh": script.encode()}),
            "ingestion.zip": feed,
            "res.zip": zipped({"answer.txt": b"42"}),
        },
        documents={"run.txt": {"program": "program.zip", "input": "input.txt", "ingestion_program": "ingestion.zip"}},
    )
    signed = {slot: contest.url(run.folder, name, "cw") for slot, name in INGESTION.items()}
    run.task_args.update({**signed, **changes})
    return run


def copying(contest: Competition) -> Submission:
    """A code submission whose output is its input, which does not compress."""
    return contest.submission(
        bundles={
            "code.zip": zipped({"metadata": b"command: cp $input/noise $output/noise\n"}),
            "data.zip": zipped({"noise": NOISE}),
        },
        documents={"run.txt": {"program": "code.zip", "input": "data.zip"}, "input.txt": {}},
        predict=True,
    )


@pytest.fixture(scope="module")
def runs(here: Station, contest: Competition, store: BadStore) -> Mapping[str, Submission]:
    nowhere = dict.fromkeys((*SLOTS, *INGESTION), "")
    made = {
        "everything": leaving(contest, EVERYTHING),
        "legacy": leaving(contest, LEGACY),
        "little": leaving(contest, "echo 'correct: 1' > $1/scores.txt"),
        "empty addresses": leaving(contest, EVERYTHING, **nowhere),
        "no addresses": leaving(contest, EVERYTHING),
        "cut": copying(contest),
    }
    for slot in nowhere:
        del made["no addresses"].task_args[slot]
    store.first("GET", made["cut"].blob("data.zip"), [Fault.SHORT, Fault.CUT])
    store.first("PUT", made["cut"].blob("output.zip"), [Fault.CUT, HTTPStatus.SERVICE_UNAVAILABLE, Fault.RESET])
    return here.publish_all(made)


def test_logs_are_stored_before_archives(here: Station, runs: Mapping[str, Submission], store: BadStore) -> None:
    run = runs["everything"]
    here.finished(run)
    logs, archives = ([store.requests("PUT", run.blob(name)) for name in names] for names in (LOGS, ARCHIVES))
    assert [len(requests) for requests in (*logs, *archives)] == [1] * 7
    assert max(log.done for [log] in logs) <= min(archive.begun for [archive] in archives)


def test_each_result_has_a_place_of_its_own(here: Station, runs: Mapping[str, Submission]) -> None:
    run = runs["everything"]
    here.finished(run)
    assert [run.text(name) for name in LOGS] == ["scored\n", "remark\n", "fed\n", "feeding\n"]
    assert run.text("detailed_results.html") == "<p>details\n"
    public, private = run.archive(), run.archive("private_output.zip")
    assert public.keys() == {"metadata", "a.html", "detailed_results.html", "public/private/page", "scores.txt"}
    assert private == {**public, "private/deep/key": b"hidden\n"}


def test_without_detailed_results_the_first_page_stands_in(here: Station, runs: Mapping[str, Submission]) -> None:
    here.finished(runs["legacy"])
    assert runs["legacy"].text("detailed_results.html") == "<p>z\n"


def test_where_nothing_is_private_or_for_people_to_look_at(here: Station, runs: Mapping[str, Submission]) -> None:
    run = runs["little"]
    here.finished(run)
    assert run.archive("private_output.zip") == run.archive()
    assert not run.has("detailed_results.html")


@pytest.mark.parametrize("name", ["empty addresses", "no addresses"])
def test_what_has_no_address_is_not_stored(
    here: Station, runs: Mapping[str, Submission], store: BadStore, name: str
) -> None:
    run = runs[name]
    here.finished(run)
    assert [place for place in (*SLOTS.values(), *INGESTION.values()) if store.count("PUT", run.blob(place))] == []


def test_a_download_that_breaks_off_is_taken_up_where_it_was_and_an_upload_begun_anew(
    here: Station, runs: Mapping[str, Submission], store: BadStore
) -> None:
    run = runs["cut"]
    here.finished(run)
    assert run.archive()["noise"] == NOISE
    ranges = [request.range for request in store.requests("GET", run.blob("data.zip"))]
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges if asked]
    assert len(starts) == len(ranges) - 1 == 2
    assert all(0 < first <= second for first, second in pairwise(starts))
    uploads = store.requests("PUT", run.blob("output.zip"))
    assert [upload.status for upload in uploads] == [0, 0, 0, HTTPStatus.CREATED]
    assert len({upload.length for upload in uploads}) == 1
    assert store.count("GET", run.blob("run.txt")) == 1  # all within one attempt at the run


@pytest.mark.timeout(240)
def test_three_hundred_megabytes_are_one_blob(here: Station, competition: Competition, tmp_path: Path) -> None:
    script = f"head -c {LARGE} /dev/urandom | tee /mnt/out/large | sha256sum | cut -d' ' -f1"
    documents = {"run.txt": {"program": ""}, "input.txt": {}}
    run = competition.docker_submission(script, predict=True, documents=documents, execution_time_limit=120)
    here.publish(run)
    here.finished(run)
    (tmp_path / "output.zip").write_bytes(run.read("output.zip"))
    with zipfile.ZipFile(tmp_path / "output.zip") as archive, archive.open("large") as large:
        assert archive.getinfo("large").file_size == LARGE
        assert hashlib.file_digest(large, "sha256").hexdigest() == run.text("stdout.txt").strip()  # type: ignore[arg-type]


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
