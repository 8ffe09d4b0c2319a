"""A disk that fills up and empties again: what waits stays in the queue, what is in work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.usage import Usage
from sandbox.wall import raise_wall, take_down
from tests.support.competition import Competition
from tests.support.private_queue import PrivateQueue, gated, statuses

pytestmark = pytest.mark.acceptance

MIB = 1 << 20
FULL = "no new run is taken until there is room"
LIMITS = {"WORKER_MIN_FREE_DISK": "48m", "WORKER_OUTPUT_LIMIT": "4m", "WORKER_CONCURRENCY": "2"}


class Disk:
    """Of 96 MiB, the temp dir of a worker that wants half of it free."""

    def __init__(self, place: Path) -> None:
        self._big = place / "big"

    def fill(self) -> None:
        self._big.write_bytes(bytes(60 * MIB))

    def make_room(self) -> None:
        self._big.unlink()


@pytest.fixture
def disk(private_queue: PrivateQueue) -> Iterator[Disk]:
    place = private_queue.folder / "temp"
    place.mkdir()
    raise_wall(private_queue.folder, [place], Usage(96 * MIB, 5000))
    yield Disk(place)
    take_down(private_queue.folder)


def test_while_the_disk_is_full_messages_stay_in_the_queue_and_what_is_in_work_goes_on(
    disk: Disk, private_queue: PrivateQueue, competition: Competition
) -> None:
    first, second = competition.docker_submission(gated()), competition.docker_submission()
    disk.fill()
    with private_queue.worker(**LIMITS) as worker:
        private_queue.publish(first)
        assert private_queue.so_far(first) == []
        assert private_queue.ready() == 1

        disk.make_room()
        private_queue.site.wait_for(first.task_id, "running")
        disk.fill()
        worker.wait_for_event(FULL, count=2)
        private_queue.publish(second)
        private_queue.open_gate()
        assert statuses(private_queue.end_of(first)) == ["running", "finished"]
        assert private_queue.so_far(second) == []  # though both slots are free
        assert private_queue.ready() == 1

        disk.make_room()
        assert statuses(private_queue.end_of(second)) == ["running", "finished"]
        assert worker.stop() == 0
        assert [event["place"] for event in worker.events(FULL)] == [str(worker.temp_dir)] * 2
