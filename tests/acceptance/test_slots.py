"""Runs side by side in one worker: what each has to itself, also when the worker is killed and goes on."""

from __future__ import annotations

import re

import docker
import pytest

from sandbox.cpus import cpu_order, cpu_sets
from tests.support.competition import PROGRAM, Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import PrivateQueue, gated, statuses
from worker.demo.competition import zipped
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

LOOK = b"""
import os, pathlib
print("cpus", *sorted(os.sched_getaffinity(0)), flush=True)
pathlib.Path("/codalab/run/output/scores.txt").write_text("correct: 1")
"""
SEE = 'python3 -c "import os; print(\\"cpus\\", *sorted(os.sched_getaffinity(0)))"; printf 42 > /mnt/out/answer.txt'
SEEN = re.compile(r"^cpus (.*)$", re.MULTILINE)
SMALL = {"WORKER_MEMORY_LIMIT": "512m"}


def seen_cpus(submission: Submission) -> list[str]:
    """Of the participant's program, then of the scoring program."""
    return SEEN.findall(submission.text("stdout.txt"))


def looking(competition: Competition, gate: str = "gate") -> Submission:
    program = zipped({**PROGRAM, "metadata": b"command: python3 $program/look.py\n", "look.py": LOOK})
    return competition.docker_submission(gated(gate, SEE), bundles={"program.zip": program}, execution_time_limit=120)


def given(client: docker.DockerClient, events: EngineEvents, message: str) -> tuple[str, int]:
    """CPU set and billionths of a CPU of the participant's container, as the engine has them."""
    container = events.wait(message, "start", timeout=90).container
    config = client.api.inspect_container(container)["HostConfig"]
    return config["CpusetCpus"], config["NanoCpus"]


def test_as_many_runs_as_there_are_slots_have_cpus_of_their_own(
    private_queue: PrivateQueue, competition: Competition, client: docker.DockerClient, events: EngineEvents
) -> None:
    cpus = client.info()["NCPU"]
    sets = [cpuset.replace("-", ",") for cpuset in cpu_sets(cpu_order(cpus), 2)]
    submissions = [looking(competition) for _ in range(2)]
    with private_queue.worker(WORKER_CONCURRENCY="2", **SMALL) as daemon:
        messages = [private_queue.publish(submission) for submission in submissions]
        dealt = [given(client, events, message) for message in messages]
        private_queue.open_gate()
        for submission in submissions:
            assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        assert daemon.stop() == ExitCode.OK
    assert sorted(cpuset for cpuset, _ in dealt) == sorted(cpu_sets(cpu_order(cpus), 2))
    assert {nano for _, nano in dealt} == {cpus // 2 * 10**9}
    for submission in submissions:
        participants, scorings = seen_cpus(submission)
        assert participants == scorings
    assert len({tuple(seen_cpus(submission)) for submission in submissions}) == len(sets)


@pytest.mark.parametrize(
    "changes",
    [{"WORKER_CONCURRENCY": "4"}, {"WORKER_CONCURRENCY": "4", "WORKER_CPU_LIMIT": "0.25"}],
    ids=["fewer CPUs than slots", "as the operator says"],
)
def test_where_cpus_cannot_be_had_to_themselves_runs_have_a_share_of_time(
    private_queue: PrivateQueue,
    competition: Competition,
    client: docker.DockerClient,
    events: EngineEvents,
    changes: dict[str, str],
) -> None:
    cpus = client.info()["NCPU"]
    slots = 4 if "WORKER_CPU_LIMIT" in changes else max(4, cpus + 1)
    share = float(changes.get("WORKER_CPU_LIMIT", cpus / slots))
    submissions = [looking(competition) for _ in range(4)]
    with private_queue.worker(**{**SMALL, **changes, "WORKER_CONCURRENCY": str(slots)}):
        messages = [private_queue.publish(submission) for submission in submissions]
        assert [given(client, events, message) for message in messages] == [("", round(share * 10**9))] * 4
        private_queue.open_gate()
        for submission in submissions:
            assert statuses(private_queue.end_of(submission)) == ["running", "finished"]


def test_a_run_that_outlives_its_worker_keeps_its_cpus_and_they_are_given_to_no_other(
    private_queue: PrivateQueue, competition: Competition, client: docker.DockerClient, events: EngineEvents
) -> None:
    first, second, third = (looking(competition, gate) for gate in ("one", "two", "three"))
    slots = {"WORKER_CONCURRENCY": "2", **SMALL}
    with private_queue.worker(**slots) as killed:
        given(client, events, private_queue.publish(first))
        kept, _ = given(client, events, private_queue.publish(second))
        private_queue.open_gate("one")
        assert statuses(private_queue.end_of(first)) == ["running", "finished"]
        killed.process.kill()
        killed.process.wait()
    with private_queue.starting_worker(**slots) as risen:
        risen.wait_for_event("container adopted")
        others, _ = given(client, events, private_queue.publish(third))
        private_queue.open_gate("two")
        private_queue.open_gate("three")
        for submission in (second, third):
            assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        assert risen.stop() == ExitCode.OK
    assert {kept, others} == set(cpu_sets(cpu_order(client.info()["NCPU"]), 2))
    participants, scorings = seen_cpus(second)
    assert participants == scorings
