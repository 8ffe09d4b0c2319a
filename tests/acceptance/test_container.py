"""The worker in a container: built, started, drained and killed as README and docs/operating.md say, with real runs."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import docker
import pytest
import yaml
from docker.errors import ContainerError

from sandbox.labels import RUN
from tests.support import container_worker, operating, worker_image
from tests.support.competition import ANSWER, CROWD, CROWDED, Competition
from tests.support.container_worker import INPUT_DIR, SOCKET, TEMP_DIR, ContainerWorker
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import PrivateQueue, gated, statuses
from worker.demo import packages
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

# Images are built in here, and a busy engine takes its time to remove containers.
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]

ROOM = 64 << 20  # bytes that the worker and its packages may take on top of the base
PATIENCE = 150.0  # seconds
ON_HOST = "--network host --health-interval 1s"
# The image is built by the same words from docs/operating.md, and the settings are the test's.
INSTALL = {
    "docker build -f Dockerfile.cpu -t codalab-worker:cpu .": ":",
    "echo 'BROKER_URL=pyamqp://user:password@host:port/vhost'": "cat settings",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def cpu(client: docker.DockerClient, parts: Parts, built: Path) -> str:
    return worker_image.build(client, parts.docker_host, "build", "codalab-worker/test-cpu:1", built)


@pytest.fixture(scope="module")
def nvidia(client: docker.DockerClient, parts: Parts, built: Path) -> str:
    return worker_image.build(client, parts.docker_host, "build-nvidia", "codalab-worker/test-nvidia:1", built)


@pytest.fixture
def worker(client: docker.DockerClient) -> Iterator[ContainerWorker]:
    """Not started yet; removed at the end."""
    own = ContainerWorker(client, f"codalab-worker-test-{uuid4().hex[:8]}")
    yield own
    own.remove()


@pytest.fixture
def socket(parts: Parts) -> str:
    return parts.docker_host.removeprefix("unix://")


@pytest.fixture
def environment(parts: Parts) -> dict[str, str]:
    return {**os.environ, "DOCKER_HOST": parts.docker_host}


def test_the_images_say_what_they_are(client: docker.DockerClient, cpu: str, nvidia: str) -> None:
    plain, with_gpus = (client.images.get(tag).attrs["Config"] for tag in (cpu, nvidia))
    assert plain["Labels"]["org.opencontainers.image.title"] == "codalab-worker"
    assert (plain["Entrypoint"], plain["Cmd"], plain["StopSignal"]) == (["codalab-worker"], ["run"], "SIGTERM")
    assert plain["Healthcheck"]["Test"] == ["CMD", "python3", "-I", "-m", "worker.health"]
    more = {"USE_GPU=true", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=utility"}
    assert set(with_gpus["Env"]) - set(plain["Env"]) == more
    assert {**with_gpus, "Env": [], "Image": ""} == {**plain, "Env": [], "Image": ""}


def test_only_the_image_for_gpus_can_ask_their_driver(client: docker.DockerClient, cpu: str, nvidia: str) -> None:
    """Without a driver it can be loaded, and no more."""
    ask = ["python3", "-c", "import pynvml; print(pynvml.__name__)"]
    assert client.containers.run(nvidia, ask, entrypoint=[], remove=True) == b"pynvml\n"
    with pytest.raises(ContainerError, match=r"No module named .*pynvml"):
        client.containers.run(cpu, ask, entrypoint=[], remove=True)


def test_the_two_dockerfiles_differ_in_what_gpus_need_only() -> None:
    plain, with_gpus = (
        (operating.ROOT / f"Dockerfile.{name}").read_text().replace(name, "NAME").splitlines()[1:]
        for name in ("cpu", "nvidia")
    )
    more = [line for line in with_gpus if line not in plain]
    assert plain == [line for line in with_gpus if line not in more]
    copied, installed, told = (line for line in more if not line.startswith("#"))
    assert copied == "COPY constraints/gpu.txt wheels/"
    assert "--require-hashes" in installed
    assert told.startswith("ENV USE_GPU=true")


def test_the_compose_file_for_gpus_fits_the_other(tmp_path: Path) -> None:
    for name in ("compose.yaml", "compose.nvidia.yaml"):
        shutil.copy(operating.ROOT / "config" / name, tmp_path)
    (tmp_path / ".env").touch()
    command = [need_compose(), "-f", "compose.yaml", "-f", "compose.nvidia.yaml", "config"]
    merged = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    worker = yaml.safe_load(merged.stdout)["services"]["worker"]
    assert worker["image"] == "codalab-worker:nvidia"
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["count"] in {"all", -1}
    assert worker["cap_drop"] == ["ALL"]


def need_compose() -> str:
    if packages.program("docker-compose") is None:
        packages.install(["docker-compose"])
    return packages.need("docker-compose", "docker-compose")


def test_an_image_holds_the_worker_and_no_secret_source_or_compiler(client: docker.DockerClient, cpu: str) -> None:
    image = client.images.get(cpu)
    base = client.images.get(worker_image.BASE)
    assert image.attrs["Size"] - base.attrs["Size"] < ROOM
    saved = io.BytesIO(b"".join(image.save()))
    assert b"hunter2" not in saved.getvalue()  # a layer that is not compressed, as here, shows every file's text
    names = {Path(name) for name in _files(saved)}
    assert Path("opt/codalab-worker/bin/codalab-worker") in names
    assert not {name for name in names if name.parent.name == "bin" and name.name in {"gcc", "cc", "c++", "ld", "as"}}
    assert not {name for name in names if name.name.endswith(".env")}
    assert not {name for name in names if name.is_relative_to("src") or "hatchling" in name.parts}


def _files(saved: io.BytesIO) -> Iterator[str]:
    with tarfile.open(fileobj=saved) as archive:
        for member in archive:
            if member.name.endswith("layer.tar") and (layer := archive.extractfile(member)):
                with tarfile.open(fileobj=layer) as files:
                    yield from files.getnames()


def test_by_compose_with_a_folder_at_another_path(  # noqa: PLR0913, PLR0917 -- fixtures
    worker: ContainerWorker,
    private_queue: PrivateQueue,
    competition: Competition,
    events: EngineEvents,
    client: docker.DockerClient,
    environment: dict[str, str],
    socket: str,
    cpu: str,
) -> None:
    """A run is scored; a worker that dies in mid-run leaves nothing and loses nothing; a stop drains."""
    folder, temp_dir = private_queue.folder, private_queue.folder / "host-side"
    changes = _write_compose(worker, private_queue, temp_dir, socket, cpu)
    plain, survivor, last = (
        competition.docker_submission(script) for script in (gated("1"), gated("2"), f"{CROWD}; {gated('3')}")
    )
    operating.run("install", {**changes, **INSTALL}, folder, environment)
    worker.wait_for_event("connected to broker", count=2)
    assert "0 failed" in operating.run("install-check", changes, folder, environment)
    private_queue.open_gate("1")
    messages = [private_queue.publish(plain)]
    updates = private_queue.end_of(plain, PATIENCE)
    assert statuses(updates) == ["running", "finished"], updates[-1].traceback
    assert plain.archive()["scores.txt"] == b"correct: 1\n"
    assert updates[0].metadata["hostname"] == client.info()["Name"]
    worker.wait_until_healthy()

    messages.append(private_queue.publish(survivor))
    events.wait(messages[-1], "start")
    worker.crash()
    worker.wait_for_event("connected to broker", count=4)  # the engine has started it anew
    private_queue.open_gate("2")
    assert [status for status in statuses(private_queue.end_of(survivor, PATIENCE)) if status != "running"] == [
        "finished"
    ]

    messages.append(private_queue.publish(last))
    events.wait(messages[-1], "start")
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(worker.container.stop, timeout=60)
        worker.wait_for_event("draining")
        private_queue.open_gate("3")
        stopped.result()
    assert worker.exit_code() == ExitCode.OK
    assert statuses(private_queue.end_of(last, PATIENCE)) == ["running", "finished"]
    assert CROWDED in last.read("stderr.txt")
    left = client.containers.list(all=True, ignore_removed=True, filters={"label": RUN})
    assert not {one.labels[RUN] for one in left} & set(messages)
    assert list((temp_dir / "runs").iterdir()) == []
    assert private_queue.ready() == 0


def _write_compose(
    worker: ContainerWorker, queue: PrivateQueue, temp_dir: Path, socket: str, image: str
) -> dict[str, str]:
    """A checkout as far as the install needs one; returns what is other than in the documents."""
    need_compose()
    inputs, config = queue.folder / "input", queue.folder / "config"
    inputs.mkdir()
    config.mkdir()
    shutil.copy(operating.ROOT / "config" / "compose.yaml", config)
    changes = container_worker.override(image, socket, temp_dir, inputs, worker.name)
    (config / "override.yaml").write_text(yaml.safe_dump(changes))
    container_worker.env_file(
        queue.settings, queue.folder / "settings", WORKER_PARTICIPANT_INPUT_DIR=INPUT_DIR, WORKER_PIDS_LIMIT="64"
    )
    return {"-f config/compose.yaml": f"--project-name {worker.name} -f config/compose.yaml -f config/override.yaml"}


def test_by_docker_run_with_a_named_volume(
    worker: ContainerWorker,
    private_queue: PrivateQueue,
    competition: Competition,
    client: docker.DockerClient,
    environment: dict[str, str],
    socket: str,
    cpu: str,
) -> None:
    container_worker.env_file(private_queue.settings, private_queue.folder / "worker.env", WORKER_PIDS_LIMIT="64")
    submission = competition.docker_submission(f"{CROWD}; {ANSWER}")
    changes = {
        "--name codalab-worker": f"--name {worker.name} {ON_HOST}",
        f"{SOCKET}:{SOCKET}": f"{socket}:{SOCKET}",
        f"{TEMP_DIR}:{TEMP_DIR}": f"{worker.name}:{TEMP_DIR}",
        "codalab-worker:cpu": cpu,
    }
    name = {"codalab-worker": worker.name}
    try:
        here = {**changes, "docker run": "docker run --network host"}
        del here["--name codalab-worker"]
        assert "a worker can work here" in operating.run("check-docker", here, private_queue.folder, environment)
        operating.run("run", changes, private_queue.folder, environment)
        private_queue.publish(submission)
        assert statuses(private_queue.end_of(submission, PATIENCE)) == ["running", "finished"]
        assert submission.archive()["scores.txt"] == b"correct: 1\n"
        assert CROWDED in submission.read("stderr.txt")
        told = operating.run("log", {**name, "4711": str(submission.task_id)}, private_queue.folder, environment)
        assert "run ended" in told
        operating.run("stop", name, private_queue.folder, environment)
        assert worker.exit_code() == ExitCode.OK
        why = operating.run("why", name, private_queue.folder, environment)
        assert why.startswith("0, restarted 0 times\n")
        password = private_queue.owner.broker_url.split(":")[2].partition("@")[0]
        assert password not in worker.log() + str(worker.container.attrs)
    finally:
        worker.remove()
        client.volumes.get(worker.name).remove()


def test_the_old_workers_command_and_settings_start_this_one(
    worker: ContainerWorker,
    private_queue: PrivateQueue,
    competition: Competition,
    environment: dict[str, str],
    socket: str,
    cpu: str,
) -> None:
    """With the names that the old `.env` has; what the test's own queue needs comes on top."""
    old = {"SUBMISSION_TEMP_DIR": "/tmp/codalab", "BROKER_USE_SSL": "False", "DONT_FINALIZE_SUBMISSION": "False"}
    lines = {**private_queue.settings, **old}
    del lines["DOCKER_HOST"]
    (private_queue.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    changes = {
        "--name compute_worker": f"--name {worker.name} --network host",
        "/var/run/docker.sock:": f"{socket}:",
        "/tmp/codalab:/tmp/codalab": f"{private_queue.folder}/temp:/tmp/codalab",
        "codalab-worker:cpu": cpu,
    }
    operating.run("old-command", changes, private_queue.folder, environment)
    submission = competition.docker_submission()
    private_queue.publish(submission)
    assert statuses(private_queue.end_of(submission, PATIENCE)) == ["running", "finished"]
    assert submission.archive()["scores.txt"] == b"correct: 1\n"


@pytest.mark.parametrize(
    ("mounted", "wrong", "sentence"),
    [
        ([], {}, f"{TEMP_DIR} lies on none of its mounts"),
        (["temp"], {"HOST_DIRECTORY": "/nowhere"}, f"to {TEMP_DIR}, which should be /nowhere on its host"),
        (["temp"], {"WORKER_PARTICIPANT_INPUT_DIR": "/opt"}, "/opt lies on none of its mounts"),
    ],
    ids=["no mount", "wrong HOST_DIRECTORY", "input folder on no mount"],
)
def test_a_folder_that_the_engine_does_not_see_is_an_error_at_the_start(  # noqa: PLR0913, PLR0917 -- fixtures
    worker: ContainerWorker,
    private_queue: PrivateQueue,
    client: docker.DockerClient,
    socket: str,
    cpu: str,
    mounted: list[str],
    wrong: dict[str, str],
    sentence: str,
) -> None:
    file = container_worker.env_file(private_queue.settings, private_queue.folder / "worker.env", **wrong)
    volumes = [f"{socket}:{SOCKET}", f"{file}:/.env:ro"]
    volumes += [f"{private_queue.folder / name}:{TEMP_DIR}" for name in mounted]
    client.containers.run(cpu, name=worker.name, detach=True, network_mode="host", volumes=volumes)
    assert worker.exit_code() == ExitCode.USAGE
    last = worker.log().splitlines()[-1]
    assert sentence in last
    assert "SUBMISSION_TEMP_DIR" in last
