"""GPUs through a real engine whose nvidia driver is registered by a stand-in for NVIDIA's prestart hook."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import docker
import pytest

from sandbox.docker.engine import DockerEngine
from sandbox.engine import ContainerSpec
from sandbox.errors import GpuUnavailable
from sandbox.gpu import GpuRequest, dealt_out
from sandbox.gpu_check import check_gpu
from sandbox.logs import LogPair
from sandbox.profile import SecurityProfile
from sandbox.runner import Sandbox
from sandbox.slots import Share, Slots
from tests.support.gpu_engine import GPUS, gpu_engine
from worker.demo import images
from worker.demo.engine import connect
from worker.demo.parts import Parts

pytestmark = pytest.mark.integration
MIB = 1 << 20
GREEDY = "greedy:1"


@pytest.fixture(scope="module")
def plain_host() -> str:
    return Parts.from_environment().docker_host


@pytest.fixture(scope="module")
def host(plain_host: str) -> Iterator[str]:
    with closing(connect(plain_host)) as client:
        images.ensure_base(client)
    with gpu_engine(plain_host, [images.BASE]) as host, closing(connect(host)) as client:
        images.build(client, GREEDY, f"FROM {images.BASE}\nENV NVIDIA_VISIBLE_DEVICES=all\n", {})
        yield host


@pytest.fixture(scope="module")
def client(host: str) -> Iterator[docker.APIClient]:
    with closing(connect(host)) as client:
        yield client.api


@pytest.fixture(scope="module")
def engine(host: str) -> Iterator[DockerEngine]:
    with closing(DockerEngine(host)) as engine:
        yield engine


def spec(request: GpuRequest | None, *command: str, image: str = images.BASE) -> ContainerSpec:
    return ContainerSpec(
        name=f"gpu-test-{uuid.uuid4().hex[:12]}",
        image=image,
        profile=SecurityProfile(memory=128 * MIB, cpus=1, pids=64, shm_size=MIB, gpus=request),
        command=command,
        environment={"NVIDIA_VISIBLE_DEVICES": "all"},  # which a participant may try
    )


def printed(engine: DockerEngine, wanted: ContainerSpec, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    logs = LogPair.at(folder / "out", folder / "err", limit=MIB)
    with Sandbox(engine).container(wanted) as container:
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert outcome.ok, logs.stderr.path.read_text()
    return logs.stdout.path.read_text()


@pytest.mark.parametrize(
    ("request_", "seen"),
    [
        (GpuRequest(), ["0", "1"]),
        (GpuRequest(count=1), ["0"]),
        (GpuRequest(count=2), ["0", "1"]),
        (GpuRequest(("1",)), ["1"]),
        (GpuRequest((GPUS["1"],)), ["1"]),
    ],
)
@pytest.mark.parametrize("image", [images.BASE, GREEDY])
def test_a_container_sees_the_gpus_that_it_was_given_and_no_others(
    engine: DockerEngine, tmp_path: Path, request_: GpuRequest, seen: list[str], image: str
) -> None:
    command = ("sh", "-c", "ls /dev | grep nvidia; nvidia-smi -L")
    lines = printed(engine, spec(request_, *command, image=image), tmp_path).splitlines()
    assert lines[: len(seen)] == [f"nvidia{index}" for index in seen]
    assert lines[len(seen) :] == [f"GPU {index}: Stand-in GPU (UUID: {GPUS[index]})" for index in seen]


def test_without_a_request_there_is_no_gpu_whatever_the_image_wants(engine: DockerEngine, tmp_path: Path) -> None:
    command = ("sh", "-c", "ls /dev | grep -c nvidia; echo $NVIDIA_VISIBLE_DEVICES")
    assert printed(engine, spec(None, *command, image=GREEDY), tmp_path) == "0\nvoid\n"


def test_the_engine_was_asked_for_nothing_but_the_gpus(engine: DockerEngine, client: docker.APIClient) -> None:
    container = engine.create(spec(GpuRequest(("0", "1")), "true"))
    found = client.inspect_container(container)["HostConfig"]
    engine.remove(container)
    assert found["DeviceRequests"] == [
        {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]], "Options": None}
    ]
    assert (found["Devices"], found["Privileged"], found["CapDrop"]) == ([], False, ["ALL"])


@pytest.mark.parametrize("request_", [GpuRequest(), GpuRequest(("0",)), GpuRequest((GPUS["1"],))])
def test_the_check_passes_and_leaves_nothing_behind(
    engine: DockerEngine, client: docker.APIClient, request_: GpuRequest
) -> None:
    before = client.images(all=True, quiet=True)
    check_gpu(engine, request_)
    assert client.images(all=True, quiet=True) == before
    assert client.containers(all=True) == []


def test_a_gpu_that_the_host_lacks_is_told_in_the_drivers_words(engine: DockerEngine) -> None:
    with pytest.raises(GpuUnavailable, match=r"cannot give 7: .*unknown device"):
        check_gpu(engine, GpuRequest(("7",)))


def test_cdi_names_on_an_engine_without_cdi_are_told(engine: DockerEngine) -> None:
    assert not engine.host_facts().cdi
    with pytest.raises(GpuUnavailable, match=r"cannot give nvidia\.com/gpu=0: .* CDI .*could not select"):
        check_gpu(engine, GpuRequest(("nvidia.com/gpu=0",)))


def test_an_engine_without_gpus_says_so_at_once(plain_host: str) -> None:
    with closing(DockerEngine(plain_host)) as engine, pytest.raises(GpuUnavailable, match="could not select"):
        check_gpu(engine, GpuRequest())


def test_an_image_cannot_pass_its_own_fault_off_as_the_gpus(engine: DockerEngine, tmp_path: Path) -> None:
    logs = LogPair.at(tmp_path / "out", tmp_path / "err", limit=MIB)
    with Sandbox(engine).container(spec(GpuRequest(), "nvidia-container-cli: no gpu")) as container:
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert outcome.reason.value == "could-not-start"


def test_two_runs_at_a_time_get_a_gpu_each(engine: DockerEngine, tmp_path: Path) -> None:
    slots = Slots([Share(gpus) for gpus in dealt_out(("0", "1"), 1)])
    both = threading.Barrier(2, timeout=60)

    def run(number: int) -> str:
        with slots.take() as share:
            both.wait()
            return printed(engine, spec(share.gpus, "sh", "-c", "ls /dev | grep nvidia"), tmp_path / str(number))

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(run, range(2))) == ["nvidia0\n", "nvidia1\n"]
