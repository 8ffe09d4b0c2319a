"""Images that are not there, may not be used, cannot be started or whose registry is away."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import docker
import pytest

from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo import images
from worker.demo.competition import zipped
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance

SILENT = "127.0.0.1:9"  # the discard port, where nobody listens
RESULTS = {"res.zip": zipped({"answer.txt": b"42"})}


@dataclass(frozen=True)
class Images:
    """References to images of one module, all below a name that its worker allows."""

    prefix: str
    missing: str
    no_command: str
    file_at_mnt: str


@pytest.fixture(scope="module")
def odd(client: docker.DockerClient, parts: Parts) -> Iterator[Images]:
    prefix = f"{parts.registry}/odd-{uuid4().hex[:8]}"
    odd = Images(prefix, f"{prefix}/missing:1", f"{prefix}/no-command:1", f"{prefix}/file-at-mnt:1")
    client.api.import_image_from_data(_one_file(), *odd.no_command.rsplit(":", 1))
    images.build(client, odd.file_at_mnt, f"FROM {images.ensure_base(client)}\nRUN rm -rf /mnt && touch /mnt\n", {})
    for tag in (odd.no_command, odd.file_at_mnt):
        images.push(client, tag)
    yield odd
    for tag in (odd.no_command, odd.file_at_mnt):
        client.images.remove(tag, force=True)


def _one_file() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def here(
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    odd: Images,
    parts: Parts,
) -> Iterator[Station]:
    allowed = f"{parts.registry}/codalab-worker/*, {odd.prefix}/*, {SILENT}/*"
    folder = tmp_path_factory.mktemp("images")
    with station(site, owner, settings, folder, WORKER_ALLOWED_IMAGES=allowed) as here:
        yield here


@pytest.fixture(scope="module")
def runs(here: Station, competition: Competition, odd: Images, parts: Parts) -> Mapping[str, Submission]:
    def theirs(image: str, **task_args: Any) -> Submission:
        return competition.submission(submit_docker_command=image, **task_args)

    def organisers(image: str) -> Submission:
        return competition.submission(bundles=RESULTS, docker_image=image)

    away = {"registry away": theirs(f"{SILENT}/team:1"), "organiser's registry away": organisers(f"{SILENT}/team:1")}
    for submission in away.values():  # the tries of one attempt take long enough
        here.publish_for_the_last_attempt(submission)
    return away | here.publish_all(
        {
            "missing": theirs(odd.missing),
            "organiser's missing": organisers(odd.missing),
            "both missing": theirs(odd.missing, docker_image=f"{odd.prefix}/scoring:1"),
            "not allowed": theirs("alpine:3"),
            "not allowed, alike": theirs(f"evil.example.org/{parts.registry.split(':')[0]}/codalab-worker/base"),
            "organiser's not allowed": organisers(f"{parts.registry}/missing:1"),
            "no command": theirs(odd.no_command),
            "organiser's has not the command": organisers(odd.no_command),
            "file at /mnt": theirs(odd.file_at_mnt),
        }
    )


def test_an_image_that_is_not_there_is_its_makers_fault(
    here: Station, runs: Mapping[str, Submission], odd: Images
) -> None:
    theirs = f"Your submission's image {odd.missing} cannot be pulled: manifest for {odd.missing} not found"
    assert here.failed(runs["missing"]).startswith(theirs)
    assert here.failed(runs["missing"]).endswith("; check its name and that it is public.")
    organisers = f"The organiser's image {odd.missing} cannot be pulled: manifest"
    assert here.failed(runs["organiser's missing"]).startswith(organisers)
    for name in ("missing", "organiser's missing"):
        assert (runs[name].read("stdout.txt"), runs[name].read("stderr.txt")) == (b"", b"")
        assert not runs[name].has("output.zip")


def test_of_two_images_that_are_not_there_the_participants_is_told(
    here: Station, runs: Mapping[str, Submission]
) -> None:
    assert here.failed(runs["both missing"]).startswith("Your submission's image ")


def test_a_registry_that_is_away_is_the_platforms_fault(here: Station, runs: Mapping[str, Submission]) -> None:
    for name in ("registry away", "organiser's registry away"):
        assert here.failed(runs[name]) == (
            f"The platform could not pull the image {SILENT}/team:1: its registry does not answer as it should."
            " It is the platform's fault, not yours."
        )


def test_only_images_that_the_operator_allows_are_run(
    here: Station, runs: Mapping[str, Submission], parts: Parts
) -> None:
    sentence = here.failed(runs["not allowed"], running=0)
    assert sentence.startswith("Your submission's image alpine:3 is not among those that this worker may run: ")
    assert f"{parts.registry}/codalab-worker/*" in sentence
    assert "is not among those" in here.failed(runs["not allowed, alike"], running=0)
    assert not runs["not allowed"].has("stdout.txt")


def test_the_operators_list_binds_no_organiser(here: Station, runs: Mapping[str, Submission]) -> None:
    """Pulled in vain, but pulled."""
    assert "cannot be pulled: manifest" in here.failed(runs["organiser's not allowed"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no command", "Your submission could not be started: No command specified"),
        (
            "organiser's has not the command",
            "The organiser's scoring program could not be started: exec python3 failed: No such file or directory",
        ),
        (
            "file at /mnt",
            "Your submission could not be started: its image is in the way of a mount at /mnt/in",
        ),
    ],
)
def test_an_image_that_cannot_be_started_is_its_makers_fault(
    here: Station, runs: Mapping[str, Submission], name: str, sentence: str
) -> None:
    said = here.failed(runs[name]).replace("/mnt/out", "/mnt/in")  # the engine mounts the two in no fixed order
    assert said == f"{sentence}; the image or its command must be mended."
    assert runs[name].metadata()["exitCode"] == 127


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
