"""Pulls through the real engine from a registry that misbehaves."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.cancellation import Cancellation
from sandbox.docker.engine import DockerEngine
from sandbox.errors import Cancelled, EngineRefused, ImageError, ImageNotFound, RegistryUnreachable
from sandbox.images import PullPolicy, obtain
from tests.contract.faulty_registry import Registry, faulty_registry
from worker.demo.engine import connect

pytestmark = pytest.mark.integration

PATIENCE, SOON = 2.5, 8.0  # seconds; a registry that drips would be done in fifteen


@pytest.fixture
def registry(parts: Any) -> Iterator[Registry]:
    with faulty_registry() as server, closing(connect(parts.docker_host)) as client:
        yield server
        repository = server.reference.rpartition(":")[0]
        for image in client.images.list(name=repository):
            client.images.remove(str(image.id), force=True)


def test_a_good_pull_tells_its_progress_and_follows_a_moved_tag(real_engine: DockerEngine, registry: Registry) -> None:
    seen: list[tuple[int, int]] = []
    first = real_engine.pull(registry.reference, deadline=60, progress=lambda had, whole: seen.append((had, whole)))
    assert seen[-1][0] == seen[-1][1] > 300_000
    assert all(had <= whole for had, whole in seen)
    registry.new_image()
    second = real_engine.pull(registry.reference, deadline=60)
    assert second.id != first.id
    assert real_engine.find_image(registry.reference) == second


def test_what_a_pull_brought_can_be_removed_when_nobody_uses_or_names_it(
    real_engine: DockerEngine, registry: Registry, parts: Any
) -> None:
    image = real_engine.pull(registry.reference, deadline=60)
    assert image.fetched
    assert not real_engine.pull(registry.reference, deadline=60).fetched
    with closing(connect(parts.docker_host)) as client:
        container = client.containers.create(image.id)  # not even started
        assert not real_engine.remove_image(image.id, [registry.reference])
        container.remove()
        assert real_engine.find_image(registry.reference)  # its name, too, was left
        keeper = registry.reference.replace("image:1", "keep:1")
        client.images.get(image.id).tag(keeper)
        assert not real_engine.remove_image(image.id, [registry.reference])
        assert real_engine.remove_image(image.id, [registry.reference, keeper])
    assert real_engine.find_image(image.id) is None
    assert real_engine.remove_image(image.id, [])  # it is gone


def test_an_image_whose_tag_has_moved_on_can_be_removed(real_engine: DockerEngine, registry: Registry) -> None:
    old = real_engine.pull(registry.reference, deadline=60)
    registry.new_image()
    new = real_engine.pull(registry.reference, deadline=60)
    assert real_engine.remove_image(old.id, [registry.reference])
    assert real_engine.find_image(old.id) is None
    assert real_engine.find_image(registry.reference) == new


@pytest.mark.parametrize("fault", ["layer:stall", "layer:drip", "manifest:stall"])
def test_a_registry_that_stalls_holds_a_pull_no_longer_than_the_deadline(
    real_engine: DockerEngine, registry: Registry, fault: str
) -> None:
    registry.fault = fault
    began = time.monotonic()
    with pytest.raises(RegistryUnreachable, match=r"took longer than 1\.5 s"):
        real_engine.pull(registry.reference, deadline=1.5)
    assert 1.4 < time.monotonic() - began < SOON
    if fault == "layer:drip":  # where nothing comes at all, engine 20.10 keeps the idle connection for a while
        assert registry.left.wait(20), "the engine went on with the pull"


@pytest.mark.parametrize("fault", ["layer:stall", "layer:drip"])
def test_a_pull_that_nobody_wants_any_more_ends_at_once(
    real_engine: DockerEngine, registry: Registry, fault: str
) -> None:
    registry.fault = fault
    cancellation = Cancellation()
    under_way = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(
            real_engine.pull,
            registry.reference,
            deadline=60,
            progress=lambda _had, _whole: under_way.set(),
            cancellation=cancellation,
        )
        if fault == "layer:drip":
            assert under_way.wait(60)
        else:
            assert registry.held.wait(60)
        began = time.monotonic()
        cancellation.cancel()
        with pytest.raises(Cancelled):
            pull.result(60)
    assert time.monotonic() - began < SOON


@pytest.fixture
def impatient(parts: Any) -> Iterator[DockerEngine]:
    """But not so much that it would take a machine that is stalled for two seconds for a registry that is."""
    with closing(DockerEngine(parts.docker_host, pull_patience=PATIENCE)) as engine:
        yield engine


@pytest.mark.parametrize("fault", ["layer:stall", "manifest:stall"])
def test_a_pull_in_which_nothing_moves_is_given_up_long_before_its_deadline(
    impatient: DockerEngine, registry: Registry, fault: str
) -> None:
    registry.fault = fault
    began = time.monotonic()
    with pytest.raises(RegistryUnreachable, match=f"nothing moved for {PATIENCE:g} s"):
        impatient.pull(registry.reference, deadline=60)
    assert PATIENCE - 0.1 < time.monotonic() - began < PATIENCE + SOON


def test_a_pull_that_is_slow_but_moves_has_until_its_deadline(impatient: DockerEngine, registry: Registry) -> None:
    registry.fault = "layer:drip"
    with pytest.raises(RegistryUnreachable, match="took longer than 4 s"):
        impatient.pull(registry.reference, deadline=4)


def test_a_pull_that_waits_for_others_is_not_given_up(
    real_engine: DockerEngine, impatient: DockerEngine, registry: Registry
) -> None:
    """The engine fetches three layers at a time."""
    enough = Cancellation()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        stack.callback(enough.cancel)
        others = [stack.enter_context(faulty_registry()) for _ in range(3)]
        for other in others:
            other.fault = "layer:stall"
            pool.submit(real_engine.pull, other.reference, deadline=60, cancellation=enough)
        assert all(other.held.wait(60) for other in others)
        waiting = pool.submit(impatient.pull, registry.reference, deadline=60)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=PATIENCE + 1)
        enough.cancel()
        for other in others:
            other.over.set()
        assert waiting.result(timeout=60).reference == registry.reference


@pytest.mark.parametrize("fault", ["layer:404", "layer:garbage", "layer:500"])
def test_a_pull_that_fails_within_the_stream_never_hands_out_the_older_image(
    real_engine: DockerEngine, registry: Registry, fault: str
) -> None:
    real_engine.pull(registry.reference, deadline=60)
    registry.new_image()
    registry.fault = fault
    with pytest.raises(ImageError):
        obtain(real_engine, registry.reference, PullPolicy.ALWAYS, deadline=4)
    assert real_engine.find_image(registry.reference) is not None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ImageNotFound),
        (403, ImageNotFound),
        (404, ImageNotFound),
        (429, RegistryUnreachable),
        (500, RegistryUnreachable),
        (503, RegistryUnreachable),
    ],
)
def test_what_a_registry_answers_is_told_apart(
    real_engine: DockerEngine, registry: Registry, status: int, error: type[ImageError]
) -> None:
    registry.fault = f"manifest:{status}"
    with pytest.raises(ImageError) as caught:
        real_engine.pull(registry.reference, deadline=60)
    assert type(caught.value) is error, caught.value
    assert caught.value.reference == registry.reference


def test_a_signed_url_in_a_registrys_words_loses_its_query(real_engine: DockerEngine, registry: Registry) -> None:
    registry.fault, registry.words = "manifest:403", "see https://blobs.example/layer?sig=SECRET&x=1 there"
    with pytest.raises(ImageNotFound) as caught:
        real_engine.pull(registry.reference, deadline=60)
    assert "SECRET" not in str(caught.value)


def engine_with_auth(parts: Any, path: Path, config: Any) -> DockerEngine:
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return DockerEngine(parts.docker_host, registry_auth=path)


def test_credentials_are_those_of_the_images_registry(parts: Any, registry: Registry, tmp_path: Path) -> None:
    registry.login = ("worker", "open-sesame")
    auth = base64.b64encode(b"worker:open-sesame").decode()
    host = registry.reference.partition("/")[0]
    path = tmp_path / "config.json"
    with closing(engine_with_auth(parts, path, {"auths": {"elsewhere.example": {"auth": auth}}})) as engine:
        with pytest.raises(ImageNotFound):
            engine.pull(registry.reference, deadline=60)
        path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        assert engine.pull(registry.reference, deadline=60).reference == registry.reference


def test_credentials_of_a_helper_are_asked_for(
    parts: Any, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.login = ("worker", "open-sesame")
    host = registry.reference.partition("/")[0]
    helper = tmp_path / "docker-credential-test"
    answer = json.dumps({"ServerURL": host, "Username": "worker", "Secret": "open-sesame"})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with closing(engine_with_auth(parts, tmp_path / "c.json", {"credHelpers": {host: "test"}})) as engine:
        assert engine.pull(registry.reference, deadline=60).id


@pytest.mark.filterwarnings("ignore:docker-credential-none-such not installed")
@pytest.mark.parametrize(
    "config",
    [
        "not JSON",
        '{"auths": {"a.example": {"auth": "c2VjcmV0LXRva2Vu"}}}',
        '{"credHelpers": {"HOST": "none-such"}}',
        "[1]",
    ],
)
def test_credentials_that_cannot_be_used_are_a_refusal_that_does_not_quote_them(
    parts: Any, registry: Registry, tmp_path: Path, config: str
) -> None:
    config = config.replace("HOST", registry.reference.partition("/")[0])
    engine = engine_with_auth(parts, tmp_path / "c.json", config)
    with closing(engine), pytest.raises(EngineRefused, match="registry credentials") as caught:
        engine.pull(registry.reference, deadline=60)
    assert "secret-token" not in str(caught.value)
    assert caught.value.__cause__ is None
