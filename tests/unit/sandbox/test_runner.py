"""What only a fake can be made to do; the rest of the runner is in tests/contract."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tenacity
from structlog.testing import capture_logs

from sandbox.engine import ContainerSpec, ScratchMeter, Stream
from sandbox.errors import EngineRefused, EngineUnreachable
from sandbox.labels import RUN, WORKER
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason
from sandbox.profile import SecurityProfile
from sandbox.removal import Removals
from sandbox.runner import Sandbox
from sandbox.sweep import remove_leftovers
from sandbox.testing import FakeEngine, Program

PROFILE = SecurityProfile(memory=1 << 20, cpus=1, pids=10, shm_size=1 << 20)


@pytest.fixture
def logs(tmp_path: Path) -> LogPair:
    return LogPair.at(tmp_path / "out", tmp_path / "err", limit=1000)


def spec(image: str = "x", **changes: Any) -> ContainerSpec:
    return ContainerSpec(name=f"c-{image}", image=image, profile=PROFILE, **changes)


class Breaking(FakeEngine):
    """`broken` maps a method to the errors that its next calls raise."""

    broken: dict[str, list[Exception]]

    def remove(self, container: str) -> None:
        self._break("remove")
        super().remove(container)

    def attach(self, container: str) -> Any:
        self._break("attach")
        return super().attach(container)

    def host_facts(self) -> Any:
        self._break("host_facts")
        return super().host_facts()

    def inspect(self, container: str) -> Any:
        self._break("inspect")
        return super().inspect(container)

    def _break(self, name: str) -> None:
        if errors := self.broken.get(name):
            raise errors.pop(0)


def breaking(**broken: list[Exception]) -> Breaking:
    engine = Breaking({"x": Program()})
    engine.broken = broken
    return engine


def test_a_removal_is_tried_again_while_the_engine_is_away(logs: LogPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.removal._TRIES.wait", tenacity.wait_none())
    engine = breaking(remove=[EngineUnreachable("restarting")])
    with Sandbox(engine).container(spec()) as container:
        assert container.run(time_limit=5, grace=1, logs=logs).ok
    assert engine.containers == {}


def test_a_removal_that_fails_is_logged_and_hides_nothing(logs: LogPair) -> None:
    engine = breaking(remove=[EngineRefused("busy")], inspect=[EngineRefused("gone")])

    def run() -> None:
        with Sandbox(engine).container(spec()) as container:
            container.run(time_limit=5, grace=1, logs=logs)

    with capture_logs() as events, pytest.raises(EngineRefused, match="gone"):
        run()
    assert [(event["event"], event["reason"]) for event in events] == [("container not removed", "busy")]


def test_a_removal_can_go_on_beside_what_comes_next_and_is_waited_for_in_the_end(logs: LogPair) -> None:
    may_go = threading.Event()

    class Slow(Breaking):
        def remove(self, container: str) -> None:
            assert may_go.wait(10)
            super().remove(container)

    engine = Slow({"x": Program()})
    engine.broken = {"remove": [EngineRefused("busy")]}
    with capture_logs() as events, Removals(engine) as removals:
        for name in ("first", "second"):
            with Sandbox(engine).container(replace(spec(), name=name), removals=removals) as container:
                container.run(time_limit=5, grace=1, logs=logs)
        assert len(engine.containers) == 2
        may_go.set()
    assert len(engine.containers) == 1
    assert [(event["event"], event["reason"]) for event in events] == [("container not removed", "busy")]


def test_a_container_that_cannot_be_attached_to_is_removed() -> None:
    engine = breaking(attach=[EngineUnreachable("gone")])
    with pytest.raises(EngineUnreachable), Sandbox(engine).container(spec()):
        pytest.fail("it must not be entered")
    assert engine.containers == {}


def test_an_engine_that_goes_away_at_the_end_is_raised_and_no_thread_is_left(logs: LogPair) -> None:
    engine = breaking(inspect=[EngineUnreachable("gone")], host_facts=[EngineUnreachable("gone")])
    before = threading.active_count()
    with pytest.raises(EngineUnreachable), Sandbox(engine, patience=0).container(spec()) as container:
        container.run(time_limit=5, grace=1, logs=logs)
    assert threading.active_count() == before


def test_a_container_that_no_kill_ends_is_given_up(logs: LogPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.runner._END", 0.03)
    engine = FakeEngine({"x": Program(duration=None)})
    monkeypatch.setattr(engine, "signal", lambda _container, _name: None)
    with pytest.raises(EngineUnreachable), Sandbox(engine).container(spec()) as container:
        container.run(time_limit=0.01, grace=0.01, logs=logs)


def test_output_that_never_ends_does_not_hold_up_the_run(logs: LogPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.attendance._DRAIN", 0.05)
    engine = FakeEngine({"x": Program(output=((Stream.STDOUT, b"said"),))})
    with Sandbox(engine).container(spec()) as container:
        attachment = next(iter(engine.containers.values())).attachments[0]
        close = attachment.close
        monkeypatch.setattr(attachment, "close", lambda: None)  # the container's end does not end the output
        threading.Timer(0.02, lambda: setattr(attachment, "close", close)).start()
        assert container.run(time_limit=5, grace=1, logs=logs).ok
    assert logs.stdout.path.read_bytes() == b"said"


def test_run_belongs_inside_the_block(logs: LogPair) -> None:
    with pytest.raises(RuntimeError, match="inside its with block"):
        Sandbox(FakeEngine({"x": Program()})).container(spec()).run(time_limit=1, grace=1, logs=logs)


def test_the_memory_of_lacking_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.known_images._REMEMBERED", 2)
    images = Sandbox(FakeEngine()).images
    specs = [spec(image, user="participant") for image in ("a", "b", "c")]
    for each in specs:
        images.remember_lack(each)
    assert [images.lacks_user(each) for each in specs] == [False, True, True]


def test_an_effect_sees_the_spec(logs: LogPair) -> None:
    seen: list[ContainerSpec] = []
    wanted = spec(environment={"A": "b"})
    with Sandbox(FakeEngine({"x": Program(effect=seen.append)})).container(wanted) as container:
        assert container.run(time_limit=5, grace=1, logs=logs).reason is ExitReason.EXITED
    assert seen == [wanted]


def test_a_sweep_goes_on_past_what_will_not_go() -> None:
    engine = breaking(remove=[EngineRefused("busy")])
    for number in range(3):
        engine.create(ContainerSpec(f"n{number}", "x", PROFILE, labels={WORKER: "w", RUN: str(number)}))
    with capture_logs() as events:
        assert remove_leftovers(engine, {WORKER: "w"}) == 2
    assert [event["event"] for event in events] == ["leftover not removed"]
    assert remove_leftovers(engine, {WORKER: "other"}) == 0


def test_a_sweep_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        remove_leftovers(FakeEngine(), {})


def test_what_is_written_outside_of_its_mounts_has_an_end(logs: LogPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.watch._PERIOD", 0.001)
    monkeypatch.setattr("sandbox.watch._TICK", 0.001)
    engine = FakeEngine({"x": Program(duration=None, ignores_term=True, scratch=1001)})
    limited = spec(image="x")
    with Sandbox(engine).container(replace(limited, profile=replace(PROFILE, scratch=1000))) as container:
        outcome = container.run(time_limit=60, grace=60, logs=logs)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.SCRATCH_LIMIT, 137)


def test_a_writable_layer_that_the_engine_could_not_show_at_first_is_looked_at_later(
    logs: LogPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.watch._PERIOD", 0.001)
    monkeypatch.setattr("sandbox.watch._TICK", 0.001)
    away = [EngineUnreachable("it is away"), EngineUnreachable("it is away")]

    class Engine(FakeEngine):
        def scratch_meter(self, container: str) -> ScratchMeter:
            if away:
                raise away.pop()
            return super().scratch_meter(container)

    engine = Engine({"x": Program(duration=None, ignores_term=True, scratch=1001)})
    with Sandbox(engine).container(replace(spec(image="x"), profile=replace(PROFILE, scratch=1000))) as container:
        outcome = container.run(time_limit=60, grace=60, logs=logs)
    assert outcome.reason is ExitReason.SCRATCH_LIMIT
    assert not away
