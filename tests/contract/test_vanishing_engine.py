"""The real engine going away, or falling silent, in the middle of a call."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sandbox.docker.engine import DockerEngine
from sandbox.errors import EngineUnreachable
from sandbox.logs import LogPair
from sandbox.runner import Sandbox
from sandbox.testing import Program
from tests.contract.engine_proxy import EngineProxy, engine_proxy
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.integration,
    # The SDK drops a socket that could not connect for the garbage collector to close.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
ENDLESS = Program(duration=None)


@pytest.fixture(autouse=True)
def dropped_sockets() -> Iterator[None]:
    """Have them collected while the filter above holds."""
    yield
    gc.collect()


@pytest.fixture
def proxy(parts: Any, tmp_path: Path) -> Iterator[EngineProxy]:
    if not parts.docker_host.startswith("unix://"):
        pytest.fail("these tests stand before a unix socket: give them an engine that has one")
    with engine_proxy(tmp_path, parts.docker_host) as proxy:
        yield proxy


@pytest.fixture
def engine(proxy: EngineProxy) -> Iterator[DockerEngine]:
    with closing(DockerEngine(proxy.host)) as engine:
        yield engine


def test_no_engine_at_all(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match="did not answer"):
        DockerEngine(f"unix://{tmp_path}/none.sock")


def test_a_connection_serves_many_requests_and_one_that_was_closed_meanwhile_none(
    engine: DockerEngine, proxy: EngineProxy
) -> None:
    for _ in range(3):
        proxy.reset()
        for _ in range(5):
            assert engine.find_image("none/such:1") is None
            assert engine.find_containers({"none": "such"}) == ()
        assert proxy.connections == 1


def test_an_engine_that_goes_away_ends_a_wait_and_every_later_call(
    real: Any, engine: DockerEngine, proxy: EngineProxy
) -> None:
    container = engine.create(real.spec(ENDLESS))
    engine.start(container)
    threading.Timer(0.3, proxy.cut).start()
    began = time.monotonic()
    with pytest.raises(EngineUnreachable):
        engine.wait(container, timeout=60)
    assert time.monotonic() - began < 20
    for call in (engine.inspect, engine.start, engine.remove, engine.attach, engine.find_image):
        with pytest.raises(EngineUnreachable):
            call(container)
    with pytest.raises(EngineUnreachable):
        engine.signal(container, "SIGKILL")


def test_an_engine_that_is_silent_does_not_keep_those_who_look_on(
    real: Any, engine: DockerEngine, proxy: EngineProxy
) -> None:
    container = engine.create(real.spec(ENDLESS))
    engine.ping()
    proxy.freeze()
    began = time.monotonic()
    with pytest.raises(EngineUnreachable):
        engine.ping()
    assert 2 < time.monotonic() - began < 25
    proxy.cut()
    with pytest.raises(EngineUnreachable):
        engine.memory(container)


def test_a_run_whose_engine_goes_away_raises_and_logs_what_is_left(
    real: Any, engine: DockerEngine, proxy: EngineProxy, logs: LogPair
) -> None:
    before = threading.active_count()
    with capture_logs() as events, Sandbox(engine, patience=1).container(real.spec(ENDLESS)) as container:
        left = container.id
        threading.Timer(0.5, proxy.cut).start()
        with pytest.raises(EngineUnreachable):
            container.run(time_limit=60, grace=1, logs=logs)
    assert [event["container"] for event in events if event["event"] == "container not removed"] == [left]
    wait_until(lambda: threading.active_count() <= before, threading.enumerate)  # the proxy's own end, too
    assert real.engine.find_containers(real.labels) == (left,)  # for the sweep


def test_the_limit_holds_though_every_other_connection_is_silent(
    real: Any, engine: DockerEngine, proxy: EngineProxy, logs: LogPair
) -> None:
    with Sandbox(engine, patience=1).container(real.spec(Program(duration=None, ignores_term=True))) as container:
        arguments = {"time_limit": 1.0, "grace": 0.5, "logs": logs}
        silent = proxy.freeze_at(b"/wait")  # while it runs: its output and the wait go silent
        runner = threading.Thread(target=_run_quietly, args=(container, arguments))
        runner.start()
        assert silent.wait(30)
        real.engine.wait(container.id, timeout=30)
        state = real.engine.inspect(container.id)
        assert state.exit_code == 137
        assert 1.5 <= state.finished_at - state.started_at < 5
        proxy.cut()
        runner.join(60)
    assert not runner.is_alive()


def _run_quietly(container: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(EngineUnreachable):
        container.run(**arguments)
