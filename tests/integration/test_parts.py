import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import docker
import pika
import psutil
import pytest
import requests
from azure.storage.blob import BlobSasPermissions, generate_blob_sas
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import DeviceRequest

from tests.support.gpu_engine import GPUS, gpu_engine
from worker.demo import engine, images, registry
from worker.demo.blobs import ACCOUNT, ACCOUNT_KEY, BlobError, BlobStore
from worker.demo.parts import ENVIRONMENT_NAME, PARTS, Parts, _is_dead, running
from worker.demo.processes import Child, PartsError
from worker.demo.service import Service

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts.from_environment()


@pytest.fixture
def store(parts: Parts) -> BlobStore:
    return BlobStore(parts.blob_endpoint)


@pytest.fixture
def container(store: BlobStore) -> Iterator[str]:
    name = f"parts-{uuid4().hex[:8]}"
    store.make_container(name)
    yield name
    store.delete_container(name)


@pytest.fixture(scope="module")
def client(parts: Parts) -> Iterator[docker.DockerClient]:
    with closing(engine.connect(parts.docker_host)) as client:
        yield client


def test_whoever_was_given_the_parts_neither_starts_nor_stops_any(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_NAME, parts.to_json())
    with running() as same:
        assert same == parts
    assert requests.get(parts.blob_endpoint, timeout=30).headers["Server"].startswith("Azurite")


def test_a_part_that_is_slow_to_answer_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setitem(PARTS, "slow", SimpleNamespace(answers=lambda _service: next(answers)))
    me = psutil.Process()
    living = Child("slow", me.pid, me.create_time(), "")
    assert not _is_dead("slow", Service("slow", {}, (living,)))
    assert next(answers, None) is None


def test_a_part_whose_process_has_ended_is_dead_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "gone", SimpleNamespace(answers=lambda _service: False))
    assert _is_dead("gone", Service("gone", {}, (Child("gone", os.getpid(), 0.0, ""),)))
    assert _is_dead("gone", Service("gone", {}))


def test_a_message_passes_through_the_broker(parts: Parts) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(parts.broker_url))) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"hello")
        _, _, body = channel.basic_get(queue, auto_ack=True)
    assert body == b"hello"


def test_the_broker_is_administered_over_http(parts: Parts) -> None:
    vhost = f"{parts.broker_api}/api/vhosts/parts-{uuid4().hex[:8]}"
    assert requests.put(vhost, timeout=30).status_code == 201
    assert requests.delete(vhost, timeout=30).status_code == 204


def test_a_signed_url_reads_and_another_writes(store: BlobStore, container: str) -> None:
    name = f"{container}/a folder/data.bin"
    written = requests.put(store.url(name, "cw"), data=b"bytes", headers={"x-ms-blob-type": "BlockBlob"}, timeout=30)
    read = requests.get(store.url(name), timeout=30)
    assert (written.status_code, read.status_code, read.content) == (201, 200, b"bytes")
    assert store.exists(name)
    assert store.list(container) == [name]
    assert store.get(name) == b"bytes"


def test_a_url_opens_only_what_it_was_signed_for(store: BlobStore, container: str) -> None:
    store.put(f"{container}/a", b"a")
    good = store.url(f"{container}/a")
    tampered = good.replace("sig=", "sig=AAAA")
    elsewhere = good.replace(f"{container}/a", f"{container}/b")
    expired = store.url(f"{container}/a", expires_in=-60)
    to_write = store.url(f"{container}/a", "cw")
    refused = [tampered, elsewhere, expired, to_write]
    assert [requests.get(url, timeout=30).status_code for url in refused] == [403] * 4


def test_a_missing_blob_is_told(store: BlobStore, container: str) -> None:
    assert not store.exists(f"{container}/none")
    with pytest.raises(BlobError, match="404"):
        store.get(f"{container}/none")


def test_our_signatures_are_those_of_the_azure_sdk(store: BlobStore, container: str) -> None:
    store.put(f"{container}/a", b"a")
    expiry = datetime.now(UTC) + timedelta(hours=1)
    token = generate_blob_sas(
        ACCOUNT,
        container,
        "a",
        account_key=ACCOUNT_KEY,
        permission=BlobSasPermissions(read=True),
        expiry=expiry,
    )
    assert requests.get(f"{store.endpoint}/{container}/a?{token}", timeout=30).content == b"a"


def test_an_image_is_built_pushed_and_pulled(parts: Parts, client: docker.DockerClient) -> None:
    base = images.ensure_base(client)
    tag = f"{parts.registry}/parts-test:{uuid4().hex[:8]}"
    images.build(client, tag, f"FROM {base}\nCOPY say /say\nUSER participant\nCMD cat /say; id -u\n", {"say": b"hi\n"})
    images.push(client, tag)
    client.images.remove(tag)
    client.images.pull(tag)
    said = client.containers.run(tag, remove=True, network_mode="none")
    client.images.remove(tag)
    assert said == b"hi\n1000\n"


def test_errors_inside_the_engines_streams_are_raised(client: docker.DockerClient) -> None:
    base = images.ensure_base(client)
    with pytest.raises(PartsError, match="non-zero code: 3"):
        images.build(client, "parts-test:broken", f"FROM {base}\nRUN exit 3\n", {})
    with pytest.raises(PartsError, match="does not exist locally"):
        images.push(client, "127.0.0.1:1/parts-test:none")


def test_the_protected_registry_wants_credentials(parts: Parts, client: docker.DockerClient) -> None:
    name = f"parts-test-{uuid4().hex[:8]}/base:1"
    client.images.get(images.ensure_base(client)).tag(f"{parts.registry}/{name}")
    images.push(client, f"{parts.registry}/{name}")
    client.images.remove(f"{parts.registry}/{name}")
    with registry.protected() as door:
        tag = f"{door.address}/{name}"
        with pytest.raises(APIError, match="no basic auth credentials"):
            client.images.pull(tag)
        client.images.pull(tag, auth_config={"username": door.user, "password": door.password})
        client.images.remove(tag)
        assert requests.get(f"http://{door.address}/v2/", timeout=30).status_code == 401
    with pytest.raises((APIError, ImageNotFound, NotFound)):
        client.images.pull(tag)


def test_the_gpu_engine_shows_a_container_its_gpus(parts: Parts, client: docker.DockerClient) -> None:
    base = images.ensure_base(client)
    with gpu_engine(parts.docker_host, [base]) as host, closing(engine.connect(host)) as gpus:

        def seen(*requested: DeviceRequest) -> str:
            command = ["sh", "-c", "ls /dev | grep nvidia; nvidia-smi -L"]
            output = gpus.containers.run(
                base, command, remove=True, network_mode="none", device_requests=list(requested)
            )
            return output.decode()

        everything = seen(DeviceRequest(count=-1, capabilities=[["gpu"]]))
        second = seen(DeviceRequest(device_ids=[GPUS["1"]], capabilities=[["gpu"]]))
        with pytest.raises(APIError, match="unknown device"):
            seen(DeviceRequest(device_ids=["7"], capabilities=[["gpu"]]))
    assert all(f"nvidia{index}\n" in everything and GPUS[index] in everything for index in GPUS)
    assert second == f"nvidia1\nGPU 1: Stand-in GPU (UUID: {GPUS['1']})\n"
