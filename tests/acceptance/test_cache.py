"""Whole runs of one phase with a cache of bundles: what the store sends again, and what a container can do to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.bad_store import BadStore
from tests.support.competition import PROGRAM, REF, Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

# Organisers' programs run as root; this one would change whatever it has been given.
VANDAL = {
    **PROGRAM,
    "metadata": b"command:\n- python3 $program/score.py $input $output\n"
    b"- sh -c 'for f in $(find $input $program -type f); do echo spoilt > $f; done'\n",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("cached")
    with station(site, owner, settings, folder, SUBMISSION_CACHE_DIR=str(cache)) as made:
        yield made


def runs_of(contest: Competition, name: str, program: Mapping[str, bytes] = PROGRAM) -> Iterator[Submission]:
    """Runs of one phase: its bundles have one place each, whose signature is another for each run."""
    folder = f"{contest.container}/{name}"
    for bundle, content in {"program.zip": program, "ref.zip": REF}.items():
        contest.store.put(f"{folder}/{bundle}", zipped(content))
    while True:
        program_url, ref_url = (contest.url(folder, bundle) for bundle in ("program.zip", "ref.zip"))
        yield contest.docker_submission(
            documents={
                "run.txt": {"program": program_url, "input": "input.txt"},
                "input.txt": {"ref": ref_url, "res": "res.zip"},
            }
        )


def sent(store: BadStore, contest: Competition, name: str) -> dict[str, list[int]]:
    """Bytes of the bodies that each bundle was answered with, request by request."""
    found = {
        bundle: [noted.sent for noted in store.requests("GET", f"{contest.container}/{name}/{bundle}")]
        for bundle in ("program.zip", "ref.zip")
    }
    return {bundle: sizes for bundle, sizes in found.items() if sizes}


def test_the_second_run_of_a_phase_downloads_neither_reference_data_nor_program(
    here: Station, contest: Competition, store: BadStore
) -> None:
    runs = runs_of(contest, "phase")
    for _ in range(3):
        run = next(runs)
        here.publish(run)
        here.finished(run)
        assert run.archive()["scores.txt"] == b"correct: 1\n"
    bundles = sent(store, contest, "phase")
    assert bundles.keys() == {"program.zip", "ref.zip"}
    for first, *others in bundles.values():
        assert first > 0
        assert others == [0, 0]

    contest.store.put(f"{contest.container}/phase/ref.zip", zipped({"truth.txt": b"41"}))
    run = next(runs)
    here.publish(run)
    here.finished(run)
    assert run.archive()["scores.txt"] == b"correct: 0\n"


def test_what_containers_do_to_their_bundles_is_not_done_to_the_cache(here: Station, contest: Competition) -> None:
    runs = runs_of(contest, "vandal", VANDAL)
    for _ in range(2):
        run = next(runs)
        here.publish(run)
        here.finished(run)
        assert run.archive()["scores.txt"] == b"correct: 1\n"
    assert not here.worker.events("a cached bundle is damaged or gone, it is downloaded anew")


def test_the_cache_holds_the_phases_bundles_and_nothing_of_a_participants(here: Station, cache: Path) -> None:
    held = [path for path in (cache / "bundles").iterdir() if path.suffix != ".json" and path.name != "lock"]
    assert len(held) == 4  # program and reference data of either phase, the changed one in the place of the first
    assert here.worker.stop() == 0
