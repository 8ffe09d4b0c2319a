"""Whole runs whose images come from a registry: what the operator lets be fetched, and registries that misbehave."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
import pytest

from tests.contract.faulty_registry import Registry
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.registries import MakeRegistry, new_registry
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo import images, registry
from worker.demo.competition import zipped

__all__ = ["new_registry"]  # a fixture taken in

pytestmark = pytest.mark.acceptance

RESULTS = {"res.zip": zipped({"answer.txt": b"42"})}
NOT_YOURS = " It is the platform's fault, not yours."
PASSING = ("manifest:429", "manifest:500", "manifest:503", "layer:404", "layer:garbage")
HICCUPS = ("manifest:500", "layer:cut")

Stations = Callable[..., Station]


@pytest.fixture(scope="module")
def stations(
    site: Site, owner: Owner, settings: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stations]:
    """Daemons with their own settings, all there until the end."""
    with ExitStack() as stack:

        def make(**more: str) -> Station:
            folder = tmp_path_factory.mktemp("registry")
            return stack.enter_context(station(site, owner, {**settings, **more}, folder))

        yield make


@pytest.fixture(scope="module")
def here(stations: Stations) -> Station:
    """With the usual settings: it always pulls."""
    return stations()


@contextmanager
def away(one: Registry) -> Iterator[Registry]:
    one.fault = "manifest:500"
    before = one.requests
    yield one
    one.fault = ""
    assert one.requests == before, "the registry was asked"


def theirs(competition: Competition, image: str) -> Submission:
    return competition.submission(submit_docker_command=image)


def platforms(image: str) -> str:
    return f"The platform could not pull the image {image}: its registry does not answer as it should.{NOT_YOURS}"


@pytest.fixture(scope="module")
def runs(
    here: Station, competition: Competition, client: docker.DockerClient, new_registry: MakeRegistry
) -> Mapping[str, Submission]:
    """Side by side, for most of their time is waiting for another try."""
    made = {fault: (one := new_registry(), theirs(competition, one.reference)) for fault in PASSING}
    one = new_registry()
    client.images.pull(one.reference)
    made["manifest:500, held"] = (one, theirs(competition, one.reference))
    one = new_registry()
    made["manifest:500, organiser's"] = (one, competition.submission(bundles=RESULTS, docker_image=one.reference))
    for fault in HICCUPS:
        one = new_registry()
        one.only_once = True
        made[f"{fault}, once"] = (one, theirs(competition, one.reference))
    for fault, (one, run) in made.items():
        one.fault = fault.partition(",")[0]
        here.publish_for_the_last_attempt(run)
    return {fault: run for fault, (_, run) in made.items()}


@pytest.mark.parametrize("fault", HICCUPS)
def test_a_registry_that_fails_once_is_asked_again(here: Station, runs: Mapping[str, Submission], fault: str) -> None:
    run = runs[f"{fault}, once"]
    here.finished(run)
    assert run.archive()["scores.txt"] == b"correct: 1\n"


def test_a_registry_that_is_slow_is_waited_for(
    here: Station, competition: Competition, new_registry: MakeRegistry
) -> None:
    one = new_registry()
    one.fault = "layer:slow"
    run = theirs(competition, one.reference)
    here.publish(run)
    here.finished(run)
    assert run.archive()["scores.txt"] == b"correct: 1\n"


def test_an_image_that_was_pushed_anew_is_the_one_that_runs(
    here: Station, competition: Competition, new_registry: MakeRegistry
) -> None:
    one = new_registry()
    for word in ("first", "second"):
        one.command = ("/bin/busybox", "sh", "-c", f"printf 42 > /mnt/out/answer.txt; echo {word}")
        one.new_image()
        run = theirs(competition, one.reference)
        here.publish(run)
        here.finished(run)
        assert word in run.text("stdout.txt").splitlines()


def test_a_registry_that_shows_nothing_without_credentials_is_told_as_a_missing_image(
    here: Station, competition: Competition, new_registry: MakeRegistry
) -> None:
    one = new_registry()
    one.fault = "manifest:401"
    run = theirs(competition, one.reference)
    here.publish(run)
    sentence = f"Your submission's image {one.reference} cannot be pulled: "
    assert here.failed(run) == f"{sentence}unauthorized; check its name and that it is public."


@pytest.mark.parametrize("fault", [*PASSING, "manifest:500, held", "manifest:500, organiser's"])
def test_a_registry_that_goes_on_failing_is_the_platforms_fault(
    here: Station, runs: Mapping[str, Submission], fault: str
) -> None:
    """Under `always` that the engine holds an older image is no help."""
    run = runs[fault]
    image = run.task_args["docker_image" if "organiser" in fault else "submit_docker_command"]
    assert here.failed(run) == platforms(image)
    assert not run.has("output.zip")


def test_if_not_present_asks_the_registry_only_for_what_is_not_there(
    stations: Stations, competition: Competition, client: docker.DockerClient, new_registry: MakeRegistry
) -> None:
    here, held, missing = stations(WORKER_PULL_POLICY="if-not-present"), new_registry(), new_registry()
    client.images.pull(held.reference)
    with away(held):
        run = theirs(competition, held.reference)
        here.publish(run)
        here.finished(run)
    run = theirs(competition, missing.reference)
    here.publish(run)
    here.finished(run)
    assert missing.requests


def test_never_asks_no_registry_and_says_so(
    stations: Stations, competition: Competition, client: docker.DockerClient, new_registry: MakeRegistry
) -> None:
    here, held, missing = stations(WORKER_PULL_POLICY="never"), new_registry(), new_registry()
    for image in (held.reference, competition.image):
        client.images.pull(image)
    with away(held), away(missing):
        good = theirs(competition, held.reference)
        bad = theirs(competition, missing.reference)
        organisers = competition.submission(bundles=RESULTS, docker_image=missing.reference)
        here.publish_all({"good": good, "bad": bad, "organiser's": organisers})
        here.finished(good)
        for whose, run in {"Your submission's": bad, "The organiser's": organisers}.items():
            assert here.failed(run) == (
                f"{whose} image {missing.reference} is not on this platform, which fetches none: "
                "name one that it has, or ask its operator to add this one."
            )


def test_the_operators_credentials_open_a_protected_registry(
    stations: Stations, competition: Competition, tmp_path: Path
) -> None:
    auth = tmp_path / "config.json"
    with registry.protected() as protected:
        image = f"{protected.address}/{images.BASE}"
        command = f"docker run {image} sh -c 'printf 42 > /mnt/out/answer.txt'"
        here = stations(WORKER_REGISTRY_AUTH=str(auth))

        def told(password: str | None) -> Submission:
            login = base64.b64encode(f"{protected.user}:{password}".encode()).decode()
            auths = {protected.address: {"auth": login}} if password else {}
            auth.write_text(json.dumps({"auths": auths}))
            run = competition.submission(submit_docker_command=command)
            here.publish(run)
            here.told(run)
            assert login not in here.worker.log.read_text()
            return run

        for password in (None, "wrong"):
            sentence = here.failed(told(password))
            assert sentence.startswith(f"Your submission's image {image} cannot be pulled: ")
        here.finished(told(protected.password))
        assert protected.password not in here.worker.log.read_text()


def test_credentials_that_cannot_be_used_are_the_platforms_fault(
    stations: Stations, competition: Competition, tmp_path: Path
) -> None:
    auth = tmp_path / "config.json"
    auth.write_text("open-sesame")
    here, run = stations(WORKER_REGISTRY_AUTH=str(auth)), competition.docker_submission()
    here.publish(run)
    assert here.failed(run) == (
        f"The platform's worker could not fetch the image {competition.image}; its operator finds the reason in "
        f"its log.{NOT_YOURS}"
    )
    assert f"The registry credentials in {auth} cannot be used" in here.worker.log.read_text()
    assert "open-sesame" not in here.worker.log.read_text()


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
