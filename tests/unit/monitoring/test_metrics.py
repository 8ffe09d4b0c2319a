from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from protocol import faults
from tests.support.monitored import run, watched
from worker.monitoring.gpus import GpuUse
from worker.monitoring.health import Health
from worker.monitoring.metrics import FAULTS, Metrics
from worker.monitoring.state import State
from worker.observers import RunEnd, RunEnded


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def test_runs_are_counted_by_end_and_fault(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.run_ended(run(), RunEnded(RunEnd.FINISHED, 20))
    metrics.run_ended(run(), RunEnded(RunEnd.FAILED, 7, "ParticipantFault", "Your submission …"))
    metrics.run_ended(run(), RunEnded(RunEnd.FAILED, 7, "ParticipantFault", "Your other submission …"))
    assert value(registry, "runs_total", end="finished", fault="none") == 1
    assert value(registry, "runs_total", end="failed", fault="participant") == 2
    assert value(registry, "run_duration_seconds_sum", end="failed") == 14
    assert value(registry, "run_duration_seconds_bucket", end="finished", le="15.0") == 0
    assert value(registry, "run_duration_seconds_bucket", end="finished", le="60.0") == 1


def test_the_cache_is_counted_by_what_it_had(registry: CollectorRegistry, metrics: Metrics) -> None:
    for hit in (True, False, True):
        metrics.cache_asked(hit)
    assert value(registry, "cache_requests_total", result="hit") == 2
    assert value(registry, "cache_requests_total", result="miss") == 1


def test_a_fault_that_is_not_known_makes_no_label(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.run_ended(run(), RunEnded(RunEnd.FAILED, 7, "FaultOfSomeLaterVersion"))
    assert value(registry, "runs_total", end="failed", fault="other") == 1


def test_every_fault_has_its_label() -> None:
    def leaves(kind: type[faults.Fault]) -> Iterator[str]:
        below = kind.__subclasses__()
        yield from [kind.__name__] if not below else [name for one in below for name in leaves(one)]

    ours = {kind.__name__ for kind in vars(faults).values() if isinstance(kind, type)}
    assert {name for name in leaves(faults.Fault) if name in ours} == set(FAULTS) - {""}


def test_each_stage_lasts_until_the_next_or_the_end(
    registry: CollectorRegistry, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 103.0, 163.0])
    monkeypatch.setattr("worker.monitoring.metrics.time", SimpleNamespace(monotonic=lambda: next(clock)))
    metrics.run_taken(run())
    metrics.run_stage(run(), "staging")
    metrics.run_stage(run(), "participant")
    metrics.run_ended(run(), RunEnded(RunEnd.LOST, 63))
    assert value(registry, "stage_duration_seconds_sum", stage="staging") == 3
    assert value(registry, "stage_duration_seconds_sum", stage="participant") == 60
    assert value(registry, "stage_duration_seconds_count", stage="scoring") == 0


def test_runs_side_by_side_do_not_mix_their_stages(
    registry: CollectorRegistry, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 11.0, 111.0])
    monkeypatch.setattr("worker.monitoring.metrics.time", SimpleNamespace(monotonic=lambda: next(clock)))
    one, other = run(), replace(run(), message_id="another")
    metrics.run_stage(one, "staging")
    metrics.run_stage(other, "staging")
    metrics.run_ended(one, RunEnded(RunEnd.FINISHED, 11))
    metrics.run_ended(other, RunEnded(RunEnd.FINISHED, 101))
    assert value(registry, "stage_duration_seconds_sum", stage="staging") == 11 + 101


def test_what_is_counted_arrives(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.transferred("down", 1000)
    metrics.transferred("up", 10)
    metrics.transferred("up", 1)
    metrics.pulled(4, True)
    metrics.pulled(70, False)
    metrics.connected("intake")
    metrics.connected("some link of a later version")
    metrics.refused("MessageFault")
    metrics.leases_renewed(3)
    metrics.lease_lost()
    assert value(registry, "transfer_bytes_total", direction="down") == 1000
    assert value(registry, "transfer_bytes_total", direction="up") == 11
    assert value(registry, "image_pull_duration_seconds_count", result="ok") == 1
    assert value(registry, "image_pull_duration_seconds_sum", result="failed") == 70
    assert value(registry, "broker_connections_total", link="intake") == 1
    assert value(registry, "broker_connections_total", link="updates") == 0
    assert value(registry, "broker_connections_total", link="other") == 1
    assert value(registry, "messages_refused_total", fault="message") == 1
    assert value(registry, "messages_refused_total", fault="participant") == 0
    assert value(registry, "lease_renewals_total") == 3
    assert value(registry, "leases_lost_total") == 1


def test_no_series_carries_an_id(registry: CollectorRegistry, metrics: Metrics) -> None:
    for number in range(100):
        one = replace(run(), message_id=f"message-{number}", submission_id=number)
        metrics.run_stage(one, f"stage {number}")
        metrics.run_ended(one, RunEnded(RunEnd.FAILED, 1, f"Fault{number}", f"sentence {number}"))
    names = {name for family in registry.collect() for name in family_labels(family)}
    assert names == {"end", "fault", "stage", "result", "direction", "link", "le"}
    series = [sample for family in registry.collect() for sample in family.samples]
    assert len([one for one in series if one.labels.get("stage") == "other"]) == 15  # 13 buckets, count, sum
    assert len(series) < 250


def test_the_state_is_looked_up_when_it_is_asked_for(registry: CollectorRegistry) -> None:
    busy = iter([0, 2])
    seen = replace(
        watched(), slots=2, busy=lambda: next(busy), links={"intake": lambda: True, "updates": lambda: False}
    )
    registry.register(State(seen, Health(seen)))
    assert [value(registry, "busy_slots"), value(registry, "busy_slots")] == [0, 2]
    seen = replace(seen, busy=lambda: 1, leases=lambda: 1)
    registry = CollectorRegistry()
    registry.register(State(seen, Health(seen)))
    assert value(registry, "slots") == 2
    assert value(registry, "leases_held") == 1
    assert value(registry, "broker_up", link="intake") == 1
    assert value(registry, "broker_up", link="updates") == 0
    assert value(registry, "ready") == 0
    assert value(registry, "engine_up") == 1
    assert value(registry, "temp_dir_free_bytes") == 100 << 30
    assert value(registry, "info", version="1.2.3") == 1


def test_gpus_by_their_index(registry: CollectorRegistry) -> None:
    seen = watched()
    gpus = (GpuUse(0, 0.25, 1 << 30, 80 << 30), GpuUse(1, 1.0, 79 << 30, 80 << 30))
    registry.register(State(seen, Health(seen), lambda: gpus))
    assert value(registry, "gpu_utilisation_ratio", gpu="0") == 0.25
    assert value(registry, "gpu_memory_used_bytes", gpu="1") == 79 << 30
    assert value(registry, "gpu_memory_total_bytes", gpu="1") == 80 << 30


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"codalab_worker_{name}", labels)


def family_labels(family: object) -> Iterator[str]:
    for sample in getattr(family, "samples", ()):
        yield from sample.labels
