"""Prometheus's own tools read what is served and what is in config/; every figure named there is one of ours."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest

from tests.support import promtool
from tests.support.monitored import run, watched
from worker.monitoring.gpus import GpuUse
from worker.monitoring.health import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.state import State
from worker.observers import RunEnd, RunEnded

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "config" / "prometheus-alerts.yml"
DASHBOARD = ROOT / "config" / "grafana-dashboard.json"
TESTS = ROOT / "tests" / "fixtures" / "prometheus" / "alerts-test.yml"
_NAME = re.compile(r"\b(?:codalab_worker|process)_[a-z_]+")
_LABEL = re.compile(r"(\w+)=~?\"")


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    """All that a worker with GPUs serves after a run."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics, seen = Metrics(registry), watched()
    metrics.run_stage(run(), "staging")
    metrics.run_ended(run(), RunEnded(RunEnd.FINISHED, 3))
    registry.register(State(seen, Health(replace(seen)), lambda: (GpuUse(0, 0.5, 1, 2),)))
    return registry


@pytest.fixture(scope="module")
def samples(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Names of series, and the labels that they have."""
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


def test_what_is_served_is_as_prometheus_would_have_it(registry: CollectorRegistry, tmp_path: Path) -> None:
    assert promtool.check("check", "metrics", folder=tmp_path, given=generate_latest(registry)) == ""


def test_the_alert_rules_are_valid(tmp_path: Path) -> None:
    assert "12 rules found" in promtool.check("check", "rules", str(ALERTS), folder=tmp_path)


def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(TESTS, tmp_path)
    assert "SUCCESS" in promtool.check("test", "rules", TESTS.name, folder=tmp_path)
    fired = set(re.findall(r'alertname="(\w+)"', TESTS.read_text("utf-8")))
    assert fired == set(re.findall(r"alert: (\w+)", ALERTS.read_text("utf-8")))


def test_every_figure_in_the_rules_and_the_dashboard_is_served(samples: dict[str, set[str]]) -> None:
    named = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert len(named) > 15
    assert named - samples.keys() == set()


def test_every_label_in_the_rules_and_the_dashboard_is_there(samples: dict[str, set[str]]) -> None:
    known = {"job", "instance"}.union(*samples.values())
    assert {label for expression in expressions() for label in _LABEL.findall(expression)} - known == set()


def test_every_figure_of_ours_is_on_the_dashboard(samples: dict[str, set[str]]) -> None:
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples if name.startswith("codalab_worker")}
    shown = DASHBOARD.read_text("utf-8")
    assert [name for name in sorted(ours) if name not in shown] == []


def test_every_figure_in_the_documentation_is_served_and_the_other_way_round(samples: dict[str, set[str]]) -> None:
    section = (ROOT / "docs" / "operating.md").read_text("utf-8").partition("| metric (`codalab_worker_…`)")[2]
    rows = [line.split("|")[1] for line in section.split("\n\n")[0].splitlines()[2:]]
    documented = {f"codalab_worker_{name}" for row in rows for name in re.findall(r"`(\w+)`", row)}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples if name.startswith("codalab_worker")}
    assert documented == ours


def test_every_expression_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    rules = [
        {"record": f"dashboard:{number}", "expr": _filled_in(target["expr"])}
        for number, target in enumerate(target for panel in panels() for target in panel["targets"])
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool.check("check", "rules", "rules.yml", folder=tmp_path)


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels())
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def _filled_in(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
