"""The worker's own host lets it down: its disk is full, its container engine is away, its temp dir is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.contract.engine_proxy import EngineProxy, engine_proxy
from tests.support.competition import REF, Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

NOT_YOURS = " It is the platform's fault, not yours."
NO_ROOM = f"The platform's worker has no room left on its disk.{NOT_YOURS}"
ATTEMPTS = 3
NO_GUARD = "0"  # bytes that have to be free; more, and no run would be taken at all
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own below `folder`, for a worker's temp dir; its size is among the options."""
    disk = folder / "temp"
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@dataclass(frozen=True)
class LetDown:
    """A worker of its own, and the run that its host lets it down over."""

    here: Station
    run: Submission


@pytest.fixture(scope="module")
def cramped(
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    competition: Competition,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, LetDown]]:
    """Small disks. All runs are under way at once, for their time goes by between the attempts at them."""
    too_much = competition.docker_submission(bundles={"ref.zip": zipped({**REF, "noise": os.urandom(3 << 20)})})
    noise = f"head -c {1200 << 10} /dev/urandom"
    program = {"metadata": f"command: sh -c '{noise} > $output/noise; echo scored'\n".encode()}
    disks = {
        "bundle": ("size=2m", too_much),
        "results": ("size=2m", competition.docker_submission(bundles={"program.zip": zipped(program)})),
        "folder": ("size=9m,nr_inodes=8", competition.docker_submission()),
    }
    with ExitStack() as stack:
        found = {}
        for name, (options, run) in disks.items():
            folder = stack.enter_context(small_disk(tmp_path_factory.mktemp(name), options))
            here = stack.enter_context(station(site, owner, settings, folder, WORKER_MIN_FREE_DISK=NO_GUARD))
            here.publish(run)
            found[name] = LetDown(here, run)
        yield found


@pytest.fixture(scope="module", autouse=True)
def deserted(
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    competition: Competition,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LetDown]:
    """An engine that stays away; from the start, for it is waited for as long as all other tests here take."""
    folder = tmp_path_factory.mktemp("deserted")
    with behind_proxy(site, owner, settings, folder) as (here, proxy):
        proxy.cut()
        run = competition.docker_submission()
        here.publish_for_the_last_attempt(run)
        yield LetDown(here, run)


@contextmanager
def behind_proxy(
    site: Site, owner: Owner, settings: dict[str, str], folder: Path
) -> Iterator[tuple[Station, EngineProxy]]:
    """A worker whose engine can go away."""
    with (
        engine_proxy(folder, settings["DOCKER_HOST"]) as proxy,
        station(site, owner, {**settings, "DOCKER_HOST": proxy.host}, folder / "worker") as here,
    ):
        yield here, proxy


@as_root
def test_a_disk_too_full_for_a_bundle(
    cramped: dict[str, LetDown], competition: Competition, client: docker.DockerClient
) -> None:
    here, run = cramped["bundle"].here, cramped["bundle"].run
    assert here.failed(run, running=ATTEMPTS) == NO_ROOM
    assert run.has("stderr.txt")
    here.is_none_the_worse(competition, client)


@as_root
def test_a_disk_too_full_for_what_is_to_be_stored(
    cramped: dict[str, LetDown], competition: Competition, client: docker.DockerClient
) -> None:
    """The output has room, its archive beside it has not."""
    here, run = cramped["results"].here, cramped["results"].run
    assert here.failed(run, running=ATTEMPTS) == NO_ROOM
    assert "scored" in run.text("stdout.txt")
    assert not run.has("output.zip")
    here.is_none_the_worse(competition, client)


@as_root
def test_a_disk_without_room_for_another_folder(cramped: dict[str, LetDown]) -> None:
    here, run = cramped["folder"].here, cramped["folder"].run
    assert here.failed(run, running=ATTEMPTS) == NO_ROOM
    assert here.worker.stop() == 0
    assert here.queue.count() == 0
    assert list((here.worker.temp_dir / "runs").iterdir()) == []


def test_an_unexpected_error_is_told_by_a_number_that_the_log_has(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path: Path, competition: Competition
) -> None:
    """Nobody foresaw that the folder of the runs goes while the worker works."""
    with station(site, owner, settings, tmp_path) as here:
        shutil.rmtree(here.worker.temp_dir / "runs")
        run = competition.docker_submission()
        here.publish(run)
        sentence = here.failed(run)
        assert here.worker.stop() == 0
        assert here.queue.count() == 0
        [event] = here.worker.events("unexpected error")
        assert sentence == (
            "The platform met an unexpected error; its operator finds it in the log under"
            f" {event['reference']}.{NOT_YOURS}"
        )
        assert "FileNotFoundError" in event["exception"]


def test_an_engine_that_restarts_is_waited_for(
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    tmp_path: Path,
    competition: Competition,
    client: docker.DockerClient,
) -> None:
    with behind_proxy(site, owner, settings, tmp_path) as (here, proxy):
        proxy.cut()
        run = competition.docker_submission()
        here.publish(run)
        here.site.wait_for(run.task_id, "running")
        (tmp_path / "proxy.sock").unlink()
        with engine_proxy(tmp_path, settings["DOCKER_HOST"]):
            here.finished(run)
            here.is_none_the_worse(competition, client)


def test_an_engine_that_stays_away_is_the_platforms_fault(deserted: LetDown) -> None:
    here, run = deserted.here, deserted.run
    assert here.failed(run) == f"The platform's container engine does not answer.{NOT_YOURS}"
    assert run.has("stdout.txt")
    assert here.worker.stop() == 0
    assert here.queue.count() == 0
