"""Which GPUs a run sees, on a real engine that has the nvidia driver registered by a stand-in for NVIDIA's hook."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from sandbox.labels import RUN, WORKER
from tests.support.command_line import Finished, codalab_worker, json_lines, message
from tests.support.competition import PROGRAM, Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.gpu_engine import GPUS, gpu_engine
from tests.support.private_queue import PrivateQueue, gated, next_message, statuses
from tests.support.worker_process import worker
from worker.demo import engine, images
from worker.demo.competition import zipped
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance

QUICKLY = 40.0  # not for ever, and a busy machine has its time
LOOK = "nvidia-smi -L; ls /dev; env; printf 42 > /mnt/out/answer.txt"
SEEN = re.compile(r"^GPU (\d): Stand-in GPU \(UUID: (.*)\)$", re.MULTILINE)
SCORING = "===== scoring program: stdout =====\n"


@pytest.fixture(scope="module")
def gpu_host() -> Iterator[str]:
    with gpu_engine() as host:
        yield host


@pytest.fixture(scope="session")
def hungry_image(parts: Parts, client: docker.DockerClient) -> str:
    """As NVIDIA's own images do: wherever their runtime is the default, such an image sees every GPU."""
    tag = f"{parts.registry}/team/hungry:1"
    images.build(client, tag, f"FROM {images.ensure_base(client)}\nENV NVIDIA_VISIBLE_DEVICES=all\n", {})
    images.push(client, tag)
    return tag


def executed(submission: Submission, host: str, folder: Path, **settings: str) -> Finished:
    settings = {"DOCKER_HOST": host, **settings}
    return codalab_worker("exec", "--json", "-", stdin=message(submission), settings=settings, folder=folder)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["0", "1"]),
        ({"WORKER_GPUS": "all", "WORKER_GPUS_PER_RUN": "all"}, ["0", "1"]),
        ({"WORKER_GPUS": "1"}, ["1"]),
        ({"WORKER_GPUS": GPUS["1"]}, ["1"]),
        ({"WORKER_GPUS": "1,0", "WORKER_GPUS_PER_RUN": "1"}, ["1"]),
    ],
    ids=["unset", "all", "index", "UUID", "one of two"],
)
def test_both_containers_of_a_run_see_the_gpus_that_are_given(
    competition: Competition, gpu_host: str, tmp_path: Path, settings: dict[str, str], expected: list[str]
) -> None:
    program = zipped({**PROGRAM, "metadata": b"command: nvidia-smi -L\n"})
    submission = competition.docker_submission(LOOK, bundles={"program.zip": program})
    done = executed(submission, gpu_host, tmp_path, USE_GPU="True", **settings)
    assert [line["status"] for line in json_lines(done.stdout)] == ["running", "finished"], done.stderr
    theirs, _, programs = submission.text("stdout.txt").partition(SCORING)
    assert SEEN.findall(theirs) == SEEN.findall(programs) == [(index, GPUS[index]) for index in expected]
    assert re.findall(r"^nvidia(\d)$", theirs, re.MULTILINE) == expected


@pytest.mark.parametrize("use_gpu", ["False", "true"])
def test_a_submission_cannot_choose_its_gpus(
    competition: Competition, gpu_host: str, hungry_image: str, tmp_path: Path, use_gpu: str
) -> None:
    for wish in (hungry_image, f"-e NVIDIA_VISIBLE_DEVICES=all {competition.image}"):
        submission = competition.submission(submit_docker_command=f"docker run {wish} sh -c '{LOOK}'")
        done = executed(submission, gpu_host, tmp_path, USE_GPU=use_gpu, WORKER_GPUS="1")
        assert done.returncode == ExitCode.OK, done.stdout
        given = {"False": [], "true": ["1"]}[use_gpu]
        said = submission.text("stdout.txt")
        assert [index for index, _uuid in SEEN.findall(said)] == given
        assert re.findall(r"^nvidia(\d)$", said, re.MULTILINE) == given
        assert re.findall("^NVIDIA_VISIBLE_DEVICES=(.*)$", said, re.MULTILINE) == (given or ["void"])


def test_two_slots_give_each_run_a_gpu_of_its_own(
    private_queue: PrivateQueue, competition: Competition, gpu_host: str
) -> None:
    submissions = [competition.docker_submission(gated(then=LOOK)) for _ in range(3)]
    shared = {"WORKER_GPUS": "0,1", "WORKER_GPUS_PER_RUN": "1"}
    with (
        closing(engine.connect(gpu_host)) as client,
        EngineEvents(client) as events,
        private_queue.worker(DOCKER_HOST=gpu_host, USE_GPU="1", WORKER_CONCURRENCY="2", **shared),
    ):
        messages = [private_queue.publish(submission) for submission in submissions]
        containers = [events.wait(message, "start").container for message in messages[:2]]
        requests = [client.api.inspect_container(id_)["HostConfig"]["DeviceRequests"] for id_ in containers]
        private_queue.open_gate()
        for submission in submissions:
            assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
    assert all(len(request) == 1 for request in requests)
    asked = [request[0] for request in requests]
    assert sorted(request["DeviceIDs"] for request in asked) == [["0"], ["1"]]
    assert [(request["Driver"], request["Count"], request["Capabilities"]) for request in asked] == (
        [("nvidia", 0, [["gpu"]])] * 2
    )
    seen = [SEEN.findall(submission.text("stdout.txt")) for submission in submissions]
    assert sorted(seen[:2]) == [[("0", GPUS["0"])], [("1", GPUS["1"])]]
    assert len(seen[2]) == 1


@pytest.mark.parametrize("ttl", ["120s", "0"], ids=["leased", "not leased"])
def test_a_run_that_would_wait_for_a_gpu_is_left_to_an_idle_worker(
    private_queue: PrivateQueue, competition: Competition, gpu_host: str, tmp_path: Path, ttl: str
) -> None:
    first, second = (competition.docker_submission(gated(), execution_time_limit=120) for _ in range(2))
    shared = {"DOCKER_HOST": gpu_host, "USE_GPU": "1", "WORKER_GPUS_PER_RUN": "1", "WORKER_LEASE_TTL": ttl}
    with (
        closing(engine.connect(gpu_host)) as client,
        EngineEvents(client) as events,
        private_queue.worker(WORKER_CONCURRENCY="2", WORKER_GPUS="0", **shared) as busy,
    ):
        where = [events.wait(private_queue.publish(first), "start", timeout=90).attributes[WORKER]]
        message = private_queue.publish(second)
        with worker(private_queue.settings_of(WORKER_GPUS="1", **shared), tmp_path / "other"):
            where.append(events.wait(message, "start", timeout=90).attributes[WORKER])
            assert len(set(where)) == 2
            assert len(events.of(message, "start")) == 1
            private_queue.open_gate()
            for submission in (first, second):
                assert statuses(private_queue.end_of(submission)) == ["running", "finished"]
        assert [event["slots"] for event in busy.events("worker started")] == [1]


def test_a_gpu_that_a_container_of_a_killed_worker_holds_is_not_taken_to_be_free(
    private_queue: PrivateQueue, competition: Competition, gpu_host: str, tmp_path: Path
) -> None:
    lost, second, third = (competition.docker_submission(gated(), execution_time_limit=120) for _ in range(3))
    ttl = 6.0
    shared = {"DOCKER_HOST": gpu_host, "USE_GPU": "1", "WORKER_LEASE_TTL": f"{ttl}s"}
    with closing(engine.connect(gpu_host)) as client, EngineEvents(client) as events:
        with private_queue.worker(WORKER_GPUS="0", **shared) as killed:
            orphan = events.wait(private_queue.publish(lost), "start", timeout=90)
            with private_queue.channel() as channel:  # so that nobody will ever come for what goes on there
                killed.process.kill()
                killed.process.wait()
                assert next_message(channel, private_queue.lease_queue(killed, ttl))
        with (
            worker(private_queue.settings_of(WORKER_GPUS="1", **shared), tmp_path / "other"),
            private_queue.starting_worker(WORKER_GPUS="0", **shared) as risen,
        ):
            risen.wait_connected("intake", count=2)
            message = private_queue.publish(second)
            assert events.wait(message, "start", timeout=90).attributes[WORKER] != orphan.attributes[WORKER]
            again = events.wait(private_queue.publish(third), "start", timeout=90)
            assert again.attributes[WORKER] == orphan.attributes[WORKER]
            assert [event.container for event in events.of(orphan.attributes[RUN], "destroy")] == [orphan.container]
            private_queue.open_gate()
            for submission in (second, third):
                assert statuses(private_queue.end_of(submission)) == ["running", "finished"]


@pytest.mark.parametrize(
    ("gpus", "sentence"),
    [
        ("", "cannot give all GPUs: check the driver and the NVIDIA Container Toolkit."),
        ("0", "cannot give 0: check the driver and the NVIDIA Container Toolkit."),
        ("nvidia.com/gpu=0", "cannot give nvidia.com/gpu=0: check the driver and the engine's CDI support"),
    ],
    ids=["all", "one", "CDI"],
)
def test_an_engine_without_gpus_is_found_out_at_the_start(
    private_queue: PrivateQueue, gpus: str, sentence: str
) -> None:
    check_refused(private_queue, ExitCode.UNREACHABLE, sentence, WORKER_GPUS=gpus)


@pytest.mark.parametrize(
    ("gpus", "sentence"),
    [
        ("0,7", "cannot give 0, 7: check the driver"),
        ("nvidia.com/gpu=0", "cannot give nvidia.com/gpu=0: check the driver and the engine's CDI support"),
    ],
    ids=["an unknown GPU", "CDI"],
)
def test_an_engine_without_these_gpus_is_found_out_at_the_start(
    private_queue: PrivateQueue, gpu_host: str, gpus: str, sentence: str
) -> None:
    check_refused(private_queue, ExitCode.UNREACHABLE, sentence, DOCKER_HOST=gpu_host, WORKER_GPUS=gpus)


@pytest.mark.parametrize(
    ("gpus", "sentence"), [("", "WORKER_GPUS"), ("0", "WORKER_GPUS_PER_RUN is more than WORKER_GPUS names")]
)
def test_a_share_that_can_never_be_had_is_a_matter_of_settings(
    private_queue: PrivateQueue, gpu_host: str, gpus: str, sentence: str
) -> None:
    check_refused(
        private_queue, ExitCode.USAGE, sentence, DOCKER_HOST=gpu_host, WORKER_GPUS=gpus, WORKER_GPUS_PER_RUN="2"
    )


def check_refused(queue: PrivateQueue, code: ExitCode, sentence: str, **settings: str) -> None:
    began = time.monotonic()
    with queue.starting_worker(USE_GPU="true", **settings) as worker:
        assert worker.process.wait(QUICKLY) == code
    assert time.monotonic() - began < QUICKLY
    (said,) = worker.log.read_text().splitlines()
    assert sentence in said
