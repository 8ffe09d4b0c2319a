"""A small fleet of twelve runs, so that `make fleet` works whenever somebody wants the great one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet import report
from tests.fleet.campaign import Plan, campaign
from tests.fleet.hosts import settings
from tests.fleet.place import Place, place
from tests.fleet.site import Site, site
from tests.fleet.workload import Kind, Workload
from tests.support import operating
from tests.support.worker_process import worker
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]
_HOSTS = 4


@pytest.fixture(scope="module")
def there() -> Iterator[Place]:
    with place(Parts.from_environment().docker_host, _HOSTS, quick=True) as there:
        yield there


def test_each_of_twelve_runs_has_one_end_on_some_host(there: Place, tmp_path: Path) -> None:
    plan = Plan({Kind.SCORED: 8, Kind.REFUSED: 4}, containers=2, idle=0.0, minutes=2.0)
    figures = campaign(plan, there)
    assert figures.good, report.table(figures)
    assert (figures.idle.connections, figures.idle.queues, figures.gone.queues) == (3, 2, 1)
    for phase in figures.phases:
        assert sum(phase.runs_of_workers) == phase.runs
        assert phase.messages["runs"]["deliver"] == phase.messages["updates"]["publish"] / 2 == 1
    assert json.loads(report.save(tmp_path, figures).read_text())["workers"] == _HOSTS


def test_a_policy_removes_idle_lease_queues_and_a_worker_that_lost_its_own_works_on(
    there: Place, tmp_path: Path
) -> None:
    day = {"86400000": "1500", "VHOST": there.owner.vhost}
    operating.run("leases-policy", day, tmp_path, there.broker.environment)
    with worker(settings(there), tmp_path, within=there.network.hosts[0].enter) as idle, site(there) as ours:
        _until(lambda: not _lease_queues(there))
        _is_finished(there, ours)
        assert idle.stop() == ExitCode.OK
    _until(lambda: not _lease_queues(there))


def _is_finished(there: Place, ours: Site) -> None:
    run = Workload(there.competition).run(Kind.SCORED)
    ours.publish([run])
    ours.wait([run], 60.0)
    assert [told.update.status for told in ours.ends(run)] == ["finished"]


def _lease_queues(there: Place) -> list[str]:
    queues = there.management.get(f"queues/{there.owner.vhost}")
    assert isinstance(queues, list)
    return [queue["name"] for queue in queues if ".lease." in queue["name"]]


def _until(done: Callable[[], bool]) -> None:
    """The broker tells nobody of a queue's expiry."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
