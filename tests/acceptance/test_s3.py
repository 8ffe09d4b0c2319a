"""Whole runs on a real S3 server, which refuses whatever was not signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import docker
import pytest

from protocol.urls import SignedUrl
from tests.support.competition import PROGRAM, Competition, Submission
from tests.support.rabbit import Owner
from tests.support.s3 import S3Store
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped
from worker.storage.transfer import Transfers
from worker.storage.version import Version as BlobVersion

pytestmark = pytest.mark.acceptance

INGESTION = {"ingestion_program_output_url": "fed", "ingestion_program_stderr_url": "feeding"}
FEED = {"metadata": b"command: sh -c 'cat $hidden/key.txt; echo remark >&2; touch $shared/ready'\n"}
SCORE = {
    **PROGRAM,
    "metadata": b"command:\n- sh -c 'until [ -e $shared/ready ]; do sleep 0.05; done'\n"
    b"- python3 $program/score.py $input $output\n"
    b"- sh -c 'mkdir $output/private; echo secret > $output/private/key.txt'\n",
}
BUNDLES = {
    "program.zip": zipped(SCORE),
    "ingestion.zip": zipped(FEED),
    "hidden.zip": zipped({"key.txt": b"hidden\n"}),
    "res.zip": b"",
}
RUN = {
    "program": "program.zip",
    "input": "input.txt",
    "ingestion_program": "ingestion.zip",
    "hidden_ref": "hidden.zip",
}
Version = Literal[2, 4]


@pytest.fixture(scope="module", autouse=True)
def bucket(s3: S3Store) -> str:
    s3.make_container("runs")
    return "runs"


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    with station(site, owner, settings, tmp_path_factory.mktemp("s3-worker")) as here:
        yield here


def contest(s3: S3Store, version: Version, competition: Competition) -> Competition:
    return Competition(s3.signing(version), "runs", competition.image)


@pytest.fixture(scope="module")
def runs(here: Station, s3: S3Store, competition: Competition) -> Mapping[Version, Submission]:
    """One of each version, with every bundle and every upload there is."""

    def make(version: Version) -> Submission:
        signed = contest(s3, version, competition)
        run = signed.docker_submission(bundles=BUNDLES, documents={"run.txt": RUN})
        for slot, name in INGESTION.items():
            run.task_args[slot] = signed.url(run.folder, name, "cw")
        return run

    versions: tuple[Version, Version] = (4, 2)
    return here.publish_all({version: make(version) for version in versions})


@pytest.mark.parametrize("version", [4, 2])
def test_every_bundle_comes_and_every_result_goes_by_a_signed_url(
    here: Station, runs: Mapping[Version, Submission], version: Version
) -> None:
    run = runs[version]
    here.finished(run)
    output, private = run.archive(), run.archive("private_output.zip")
    assert output["scores.txt"] == b"correct: 1\n"
    assert "private/key.txt" not in output
    assert private == {**output, "private/key.txt": b"secret\n", "metadata": private["metadata"]}
    assert "predicted" in run.text("stdout.txt")
    assert "participant remark" in run.text("stderr.txt")
    assert (run.text("fed"), run.text("feeding")) == ("hidden\n", "remark\n")
    assert run.text("detailed_results.html") == "<p>details</p>"


@pytest.mark.parametrize("version", [4, 2])
@pytest.mark.parametrize(
    ("key", "seconds", "sentence"),
    [
        ("bundle_url", -60, "The platform's signed address bundle_url expired at "),
        ("output_url", 10, "The platform's signed address output_url expires at "),
    ],
)
def test_an_address_that_expires_too_soon_is_told_before_anything_is_fetched(
    here: Station, s3: S3Store, competition: Competition, version: Version, key: str, seconds: int, sentence: str
) -> None:
    run = contest(s3, version, competition).docker_submission()
    permissions: Any = "r" if key == "bundle_url" else "cw"
    run.task_args[key] = s3.signing(version).url(run.blob("run.txt"), permissions, seconds)
    here.publish(run)
    assert here.failed(run, running=0).startswith(sentence)
    assert not run.has("stdout.txt")


def test_an_address_that_the_server_refuses_is_the_platforms_fault(
    here: Station, s3: S3Store, competition: Competition
) -> None:
    """Of a document's addresses nobody looks at the dates but the server: it says 403 itself."""
    signed = contest(s3, 4, competition)
    expired = s3.url("runs/program.zip", "r", -60)
    run = signed.docker_submission(documents={"run.txt": {"program": expired, "input": "input.txt"}})
    here.publish(run)
    assert here.failed(run).startswith("The platform's store refused to hand out the scoring program (HTTP 403)")


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
    assert "X-Amz-Signature" not in here.worker.log.read_text()


@pytest.mark.parametrize("version", [2, 4])
def test_a_blob_that_has_not_changed_is_not_sent_again(s3: S3Store, version: Version, tmp_path: Path) -> None:
    s3.put("runs/ref.zip", b"first")
    signed = s3.signing(version)
    with Transfers() as transfers:

        def unless(known: BlobVersion) -> BlobVersion | None:
            url = SignedUrl(signed.url("runs/ref.zip"))
            return transfers.download_unless(url, tmp_path / "ref.zip", known=known, deadline=20)

        first = unless(BlobVersion())
        assert first
        assert unless(first) is None
        s3.put("runs/ref.zip", b"second")
        assert unless(first) not in {None, first}
    assert (tmp_path / "ref.zip").read_bytes() == b"second"
