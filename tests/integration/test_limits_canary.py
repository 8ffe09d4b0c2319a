"""The program that takes too much, in containers whose limits are missing: it must tell which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import docker
import pytest

from sandbox.canary_program import CPU_SECONDS, MANY_PROCESSES, MUCH_MEMORY, canary_program
from sandbox.docker.engine import DockerEngine
from sandbox.limits_check import LimitsSeen, limits_seen, try_limits
from worker.demo import engine
from worker.demo.parts import Parts

pytestmark = pytest.mark.integration

ALL: dict[str, Any] = {"mem_limit": "32m", "memswap_limit": "32m", "pids_limit": 32, "nano_cpus": 200_000_000}


@pytest.fixture(scope="module")
def own(parts: Parts) -> Iterator[DockerEngine]:
    with closing(DockerEngine(parts.docker_host)) as own:
        yield own


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts.from_environment()


@pytest.mark.parametrize(
    ("missing", "exit_code"),
    [("pids_limit", MANY_PROCESSES), ("mem_limit", MUCH_MEMORY)],
)
def test_a_limit_that_is_missing_shows_in_its_end(
    parts: Parts, own: DockerEngine, missing: str, exit_code: int
) -> None:
    limits = {name: value for name, value in ALL.items() if not name.startswith(missing.partition("_")[0])}
    with closing(engine.connect(parts.docker_host)) as client, own.empty_image(program=canary_program()) as image:
        made = client.containers.create(image.id, ["/program"], network_mode="none", init=True, **limits)
        try:
            made.start()
            assert made.wait(timeout=60)["StatusCode"] == exit_code
        finally:
            made.remove(force=True)


@pytest.mark.alone
def test_cpus_that_are_not_limited_are_used_at_once(parts: Parts, own: DockerEngine) -> None:
    """A busy host slows it down as a limit would, so that several tries are made; under a limit none is quick."""
    limits = {name: value for name, value in ALL.items() if name != "nano_cpus"}
    with closing(engine.connect(parts.docker_host)) as client, own.empty_image(program=canary_program()) as image:
        tries = (_elapsed(client, own, image.id, limits) for _ in range(20))
        assert any(elapsed < 2.5 * CPU_SECONDS for elapsed in tries)


def _elapsed(client: docker.DockerClient, own: DockerEngine, image: str, limits: dict[str, Any]) -> float:
    made = client.containers.create(image, ["/program"], network_mode="none", init=True, **limits)
    try:
        made.start()
        made.wait(timeout=60)
        state = own.inspect(str(made.id))
        assert limits_seen(state).memory
        return (state.finished_at or 0) - (state.started_at or 0)
    finally:
        made.remove(force=True)


def test_the_sandboxes_own_limits_hold(own: DockerEngine) -> None:
    assert try_limits(own) == LimitsSeen(processes=True, cpu=True, memory=True)
