"""A store that refuses, fails, breaks off or signs for too short a time, at each place where a run needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import docker
import pytest

from tests.support.bad_store import Answer, BadStore, Fault
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.blobs import BlobStore
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

TRIES = 5  # of one transfer, within one attempt at the run
ATTEMPTS = 3
RESULTS = {"res.zip": zipped({"answer.txt": b"42"})}

GETS = {"run.txt": "the run bundle", "program.zip": "the scoring program", "res.zip": "your submission"}
PUTS = {"stdout.txt": "stdout_url", "output.zip": "output_url"}
REFUSALS = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
FAILURES = (HTTPStatus.INTERNAL_SERVER_ERROR, Fault.RESET)
OTHER_FAILURES: tuple[tuple[str, Answer], ...] = (
    ("program.zip", HTTPStatus.SERVICE_UNAVAILABLE),
    ("program.zip", Fault.CUT),
    ("program.zip", Fault.SHORT),
)
OTHER_ABSENCES: tuple[tuple[str, Answer], ...] = (
    ("output.zip", HTTPStatus.TOO_MANY_REQUESTS),
    ("output.zip", Fault.CUT),
)

Case = tuple[str, Answer]
REFUSED: list[Case] = [(name, answer) for name in (*GETS, *PUTS) for answer in REFUSALS]
FAILED: list[Case] = [(name, answer) for name in GETS for answer in FAILURES] + list(OTHER_FAILURES)
WAITED_FOR: list[Case] = [(name, answer) for name in PUTS for answer in FAILURES] + list(OTHER_ABSENCES)
ABSENCE: Case = ("a short absence", Fault.NONE)
THIRD: Case = ("two attempts long", Fault.NONE)
HICCUPS = (HTTPStatus.SERVICE_UNAVAILABLE, Fault.RESET)
PASSING: dict[Case, dict[str, tuple[Answer, ...]]] = {
    ABSENCE: {"program.zip": (*HICCUPS, Fault.SHORT), "output.zip": HICCUPS},
    THIRD: {"program.zip": (Fault.RESET,) * (TRIES * (ATTEMPTS - 1))},
}


def method(name: str) -> str:
    return "GET" if name in GETS else "PUT"


def label(value: object) -> str:
    return value if isinstance(value, str) else str(getattr(value, "name", value)).lower()


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    with station(site, owner, settings, tmp_path_factory.mktemp("store"), WORKER_CONCURRENCY="16") as here:
        yield here


@pytest.fixture(scope="module")
def runs(here: Station, contest: Competition, store: BadStore) -> Mapping[Case, Submission]:
    """One for each case, all of them under way side by side: most of their time is waiting for the next try."""
    made = {}
    for name, answer in (*FAILED, *REFUSED):
        submission = made[name, answer] = contest.submission(bundles=RESULTS)
        store.always(method(name), submission.blob(name), answer)
    for name, answer in WAITED_FOR:
        submission = made[name, answer] = contest.submission(bundles=RESULTS)
        store.first("PUT", submission.blob(name), [answer] * (TRIES + 1))
    for case, answers in PASSING.items():
        submission = made[case] = contest.submission(bundles=RESULTS)
        for name, first in answers.items():
            store.first(method(name), submission.blob(name), first)
    return here.publish_all(made)


@pytest.mark.parametrize(("name", "answer"), REFUSED, ids=label)
def test_what_the_store_refuses_is_not_asked_for_again(
    here: Station, runs: Mapping[Case, Submission], store: BadStore, name: str, answer: HTTPStatus
) -> None:
    run = runs[name, answer]
    sentence = here.failed(run)
    assert sentence.startswith("The platform")
    assert "platform's fault, not yours" in sentence
    assert (GETS | PUTS)[name] in sentence
    assert store.count("GET", run.blob("run.txt")) == 1
    # A log that is refused is offered once more, for what may have changed, when the run is broken off.
    assert store.count(method(name), run.blob(name)) == (2 if name == "stdout.txt" else 1)
    if name in GETS:
        assert f"HTTP {answer.value}" in sentence


@pytest.mark.parametrize(("name", "answer"), FAILED, ids=label)
def test_a_store_that_fails_is_asked_again_and_the_run_tried_three_times(
    here: Station, runs: Mapping[Case, Submission], store: BadStore, name: str, answer: Answer
) -> None:
    run = runs[name, answer]
    sentence = here.failed(run, running=ATTEMPTS)
    assert sentence.startswith("The platform")
    assert "platform's fault, not yours" in sentence
    assert (GETS | PUTS)[name] in sentence
    if name != "run.txt":
        assert store.count("GET", run.blob("run.txt")) == ATTEMPTS
    assert store.count(method(name), run.blob(name)) == ATTEMPTS * TRIES


@pytest.mark.parametrize(("name", "answer"), WAITED_FOR, ids=label)
def test_a_store_that_takes_no_results_is_waited_for(
    here: Station, runs: Mapping[Case, Submission], store: BadStore, name: str, answer: Answer
) -> None:
    """Longer than one transfer tries, and without a second attempt at the run."""
    run = runs[name, answer]
    here.finished(run)
    assert store.count("PUT", run.blob(name)) == TRIES + 2
    assert run.archive()["scores.txt"] == b"correct: 1\n"


@pytest.mark.parametrize(("name", "answer"), REFUSED + FAILED, ids=label)
def test_the_logs_are_stored_whatever_else_is_not(
    here: Station, runs: Mapping[Case, Submission], name: str, answer: Answer
) -> None:
    run = runs[name, answer]
    here.told(run)
    logs = {"stdout.txt": "scored\n", "stderr.txt": "scoring remark\n"}
    for log, text in logs.items():
        assert run.has(log) == (name != log)
        if run.has(log):
            assert run.text(log) == ("" if name in GETS else text)
    # Archives go up after the logs: where a log was not taken they are not tried.
    assert not run.has("output.zip")


def test_a_short_absence_is_waited_out(here: Station, runs: Mapping[Case, Submission], store: BadStore) -> None:
    run = runs[ABSENCE]
    here.finished(run)
    assert run.archive()["scores.txt"] == b"correct: 1\n"
    counted = {name: store.count(method(name), run.blob(name)) for name in ("run.txt", "program.zip", "output.zip")}
    assert counted == {"run.txt": 1, "program.zip": 4, "output.zip": 3}


def test_the_third_attempt_may_succeed(here: Station, runs: Mapping[Case, Submission]) -> None:
    assert [update.status for update in here.told(runs[THIRD])] == ["running"] * ATTEMPTS + ["finished"]
    assert runs[THIRD].archive()["scores.txt"] == b"correct: 1\n"


@pytest.mark.parametrize(
    ("key", "blob", "seconds", "sentence"),
    [
        ("bundle_url", "run.txt", -60, "The platform's signed address bundle_url expired at "),
        ("output_url", "output.zip", -60, "The platform's signed address output_url expired at "),
        ("stdout_url", "stdout.txt", 10, "The platform's signed address stdout_url expires at "),
        ("detailed_results_url", "page", 10, "The platform's signed address detailed_results_url expires at "),
    ],
)
def test_a_run_whose_addresses_expire_too_soon_is_refused_before_anything_is_fetched(
    here: Station, contest: Competition, store: BadStore, key: str, blob: str, seconds: int, sentence: str
) -> None:
    """Such as those that waited in the queue for too long."""
    kept = contest.submission(bundles=RESULTS)
    permissions: Any = "r" if key == "bundle_url" else "cw"
    kept.task_args[key] = BlobStore(store.endpoint).url(kept.blob(blob), permissions, seconds)
    here.publish(kept)
    assert here.failed(kept, running=0).startswith(sentence)
    assert store.count("GET", kept.blob("run.txt")) == 0
    assert not kept.has("stdout.txt")


def test_an_address_that_expires_before_the_worker_comes_to_it_is_the_platforms_fault(
    here: Station, contest: Competition, store: BadStore
) -> None:
    """In a document it is no longer looked at: the real store refuses it."""
    expired = BlobStore(store.endpoint).url(f"{contest.container}/program.zip", "r", -60)
    run = contest.submission(bundles=RESULTS, documents={"run.txt": {"program": expired, "input": "input.txt"}})
    here.publish(run)
    assert here.failed(run).startswith("The platform's store refused to hand out the scoring program (HTTP 403)")


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
