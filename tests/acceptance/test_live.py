"""What people see of a run while it is under way, and that the end has the last word."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.bad_store import BadStore, Fault, bad_store
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.s3 import S3Store
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance

STDOUT, STDERR, PAGE = "stdout.txt", "stderr.txt", "detailed_results.html"
INGESTION = {
    "ingestion_program_output_url": "ingestion-stdout.txt",
    "ingestion_program_stderr_url": "ingestion-stderr.txt",
}


class Gates:
    """Files in the operator's input folder, which participants' scripts wait for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = uuid4().hex

    def wait(self, name: str) -> str:
        return f"until [ -e /mnt/in/{self._own}-{name} ]; do sleep 0.02; done"

    def open(self, name: str) -> None:
        (self.folder / f"{self._own}-{name}").touch()


@pytest.fixture(scope="module")
def input_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gates") / "input"
    folder.mkdir()  # to be read by whomever a container runs as, unlike the folder above
    return folder


@pytest.fixture
def gates(input_folder: Path) -> Gates:
    return Gates(input_folder)


@pytest.fixture(scope="module")
def here(
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    input_folder: Path,
) -> Iterator[Station]:
    more = {"WORKER_LIVE_LOGS": "0.1", "WORKER_PARTICIPANT_INPUT_DIR": str(input_folder)}
    with station(site, owner, {**settings, **more}, tmp_path_factory.mktemp("live")) as here:
        yield here


@pytest.fixture
def store(parts: Parts) -> Iterator[BadStore]:
    with bad_store(parts.blob_endpoint) as store:
        yield store
        store.let_go.set()


@pytest.fixture
def contest(competition: Competition, store: BadStore) -> Competition:
    return Competition(competition.store, competition.container, competition.image, store.endpoint)


@pytest.fixture(params=["Azure", "S3"])
def either(request: pytest.FixtureRequest, competition: Competition) -> Competition:
    if request.param == "Azure":
        return competition
    s3: S3Store = request.getfixturevalue("s3")
    s3.make_container("live")
    return Competition(s3, "live", competition.image)


def prediction(competition: Competition, script: str, **changes: Any) -> Submission:
    """A docker submission whose output folder is the run's own."""
    documents = {"run.txt": {"program": ""}, "input.txt": {}, **changes.pop("documents", {})}
    return competition.docker_submission(script, predict=True, documents=documents, **changes)


def eventually(look: Callable[[], bool], timeout: float = 60.0) -> None:
    """A store tells nobody what it is given: looking again is the one way to see it from outside."""
    ends = time.monotonic() + timeout
    while not look():
        assert time.monotonic() < ends
        time.sleep(0.02)


def shows(run: Submission, name: str, text: str) -> Callable[[], bool]:
    return lambda: run.has(name) and run.text(name) == text


def test_a_run_can_be_watched(here: Station, either: Competition, gates: Gates) -> None:
    feed = b"echo feeding; echo hidden >&2; until [ -e $1/fed ]; do sleep 0.05; done; echo fed"
    ingestion = zipped({"metadata": b"command: sh $program/run.sh $output\n", "run.sh": feed})
    script = (
        f"echo first; echo remark >&2; echo '<p>half' > /mnt/out/{PAGE}; {gates.wait('on')};"
        f"echo second; echo '<p>whole' > /mnt/out/{PAGE}; touch /mnt/out/fed; {gates.wait('end')}; echo third"
    )
    run = prediction(
        either,
        script,
        bundles={"ingestion.zip": ingestion},
        documents={"run.txt": {"program": "", "ingestion_program": "ingestion.zip"}},
    )
    for slot, name in INGESTION.items():
        run.task_args[slot] = either.url(run.folder, name, "cw")
    here.publish(run)
    for name, text in {
        STDOUT: "first\n",
        STDERR: "remark\n",
        PAGE: "<p>half\n",
        "ingestion-stdout.txt": "feeding\n",
        "ingestion-stderr.txt": "hidden\n",
    }.items():
        eventually(shows(run, name, text))
    gates.open("on")
    eventually(shows(run, STDOUT, "first\nsecond\n"))
    eventually(shows(run, PAGE, "<p>whole\n"))
    eventually(shows(run, "ingestion-stdout.txt", "feeding\nfed\n"))
    assert not run.has("output.zip")
    gates.open("end")
    here.finished(run)
    assert run.text(STDOUT) == "first\nsecond\nthird\n"
    assert run.archive()[PAGE] == b"<p>whole\n"


def test_what_has_not_changed_is_not_stored_again(
    here: Station, contest: Competition, store: BadStore, gates: Gates
) -> None:
    grow = f"until [ -e /mnt/in/{gates._own}-end ]; do echo remark >&2; sleep 0.02; done"
    run = prediction(contest, f"echo once; echo '<p>once' > /mnt/out/{PAGE}; {grow}")
    here.publish(run)
    assert store.wait_for("PUT", run.blob(STDERR), count=5)
    gates.open("end")
    here.finished(run)
    assert store.count("PUT", run.blob(STDERR)) >= 6
    assert store.count("PUT", run.blob(STDOUT)) == 2  # the second is the final one
    assert store.count("PUT", run.blob(PAGE)) <= 3  # the shell may have made it empty at first


def test_a_store_that_refuses_live_files_fails_no_run(
    here: Station, contest: Competition, store: BadStore, gates: Gates
) -> None:
    run = prediction(contest, f"echo first; {gates.wait('end')}; echo second")
    store.first("PUT", run.blob(STDOUT), [HTTPStatus.FORBIDDEN])
    here.publish(run)
    assert store.wait_for("PUT", run.blob(STDOUT), count=1)
    gates.open("end")
    here.finished(run)
    assert run.text(STDOUT) == "first\nsecond\n"


def test_the_end_waits_for_a_store_that_is_slow_to_act_on_what_it_was_sent(
    here: Station, contest: Competition, store: BadStore, gates: Gates
) -> None:
    run = prediction(contest, f"echo first; {gates.wait('end')}; echo second")
    store.first("PUT", run.blob(STDOUT), [Fault.HELD])
    here.publish(run)
    assert store.held.wait(60)
    gates.open("end")
    assert not store.wait_for("PUT", run.blob(STDOUT), count=1, timeout=1.5), "the end overtook the live upload"
    store.let_go.set()
    here.finished(run)
    live, final = store.requests("PUT", run.blob(STDOUT))
    assert (live.status, final.status) == (HTTPStatus.CREATED, HTTPStatus.CREATED)
    assert live.done <= final.begun
    assert run.text(STDOUT) == "first\nsecond\n"


def test_the_end_does_not_wait_for_ever_and_has_the_last_word_all_the_same(
    here: Station, contest: Competition, store: BadStore, gates: Gates
) -> None:
    """Azure is told which version alone a live file may replace."""
    run = prediction(contest, f"echo first; {gates.wait('on')}; echo second; {gates.wait('end')}; echo third")
    store.first("PUT", run.blob(STDOUT), [Fault.NONE, Fault.HELD])
    here.publish(run)
    assert store.wait_for("PUT", run.blob(STDOUT), count=1)
    gates.open("on")
    assert store.held.wait(60)
    gates.open("end")
    ended = time.monotonic()
    here.finished(run)
    assert time.monotonic() - ended < 40  # ten seconds, and those of a busy machine; held is it for longer
    text = "first\nsecond\nthird\n"
    assert run.text(STDOUT) == text
    store.let_go.set()
    assert store.wait_for("PUT", run.blob(STDOUT), count=3)
    statuses = [request.status for request in store.requests("PUT", run.blob(STDOUT))]
    assert statuses == [HTTPStatus.CREATED, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CREATED]
    assert run.text(STDOUT) == text
