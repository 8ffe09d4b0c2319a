import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.figures import Figure, Pair, Point, Target, between, latencies, rates
from tests.bench.plot import newest, panels

OVERHEAD = Target("<", 0.15)


@pytest.mark.parametrize(
    ("target", "median", "verdict"),
    [
        (OVERHEAD, 0.149, "reached"),
        (OVERHEAD, 0.15, "MISSED"),
        (OVERHEAD, -0.01, "reached"),
        (Target("<=", 0.6), 0.6, "reached"),
        (Target("<=", 0.6), 0.61, "MISSED"),
        (Target(">=", 0.95), 0.95, "reached"),
        (Target(">=", 0.95), 0.94, "MISSED"),
    ],
    ids=str,
)
def test_a_target_is_reached_on_its_side_only(target: Target, median: float, verdict: str) -> None:
    assert Figure("overhead", "s", (median,), target).verdict == verdict


def test_a_figure_without_a_target_has_no_verdict() -> None:
    assert Figure("floor", "s", (1.0,)).verdict == ""


def test_the_median_decides_and_not_the_tail() -> None:
    figure = Figure("overhead", "s", (0.1,) * 9 + (5.0,), OVERHEAD)
    assert figure.verdict == "reached"
    assert figure.p95 is not None
    assert figure.p95 > 0.15


def test_the_tail_lies_within_the_samples() -> None:
    assert Figure("x", "s", tuple(float(n) for n in range(101))).p95 == pytest.approx(95.0)


def test_a_single_sample_has_no_tail() -> None:
    assert Figure("idle CPU", "%", (0.1,)).p95 is None


def test_a_run_is_held_against_the_floor_before_and_after_it() -> None:
    assert between([1.0, 2.0, 4.0], [1.6, 3.3]) == [Pair(1.5, 1.6), Pair(3.0, 3.3)]


def test_every_run_needs_a_floor_on_either_side() -> None:
    with pytest.raises(ValueError, match="longer"):
        between([1.0, 2.0], [1.6, 3.3])


def test_overhead_and_ratio_are_of_each_pair_not_of_the_medians() -> None:
    pairs = [Pair(1.0, 1.1), Pair(2.0, 2.6), Pair(4.0, 4.2)]
    figures = {figure.name: figure for figure in latencies("w", pairs, overhead=OVERHEAD)}
    overhead = figures["w: overhead (worker - floor)"]
    assert overhead.median == pytest.approx(0.2)
    assert overhead.verdict == "MISSED"
    assert figures["w: ratio (worker / floor)"].median == pytest.approx(1.1)
    assert figures["w: its floor"].verdict == ""


def test_rates_are_runs_a_minute_and_a_share_of_the_engines() -> None:
    figures = {figure.name: figure.median for figure in rates("w", [Pair(0.3, 0.4)])}
    assert figures == pytest.approx(
        {"w: runs": 150.0, "w: the engine's own rate": 200.0, "w: share of the engine's own rate": 0.75}
    )


def test_a_slow_worker_misses_its_share() -> None:
    share = rates("w", [Pair(0.3, 0.4)], share=Target(">=", 0.9))[-1]
    assert (str(share.target), share.verdict) == (">= 0.9", "MISSED")


def test_the_table_says_what_was_missed_section_by_section() -> None:
    memory = Figure("idle memory", "MB", (81.0,), Target("<", 80))
    cpu = Figure("idle CPU", "%", (0.1,), Target("<", 0.2))
    _head, _blank, first, _between, second = report.table({"a": [memory], "b": [cpu]}).splitlines()
    assert first.split() == ["idle", "memory", "81.000", "MB", "1", "<", "80", "MISSED"]
    assert second.endswith("reached")
    assert report.verdict([memory, cpu]) == "1 of 2 targets reached; MISSED: idle memory"


def result(at: float, median: float, line: str = "CPU per run", unit: str = "s") -> Figure:
    return Figure(f"{at:g} waiting: {line}", unit, (median,), point=Point("runs that wait", at, line))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(*figures: Figure) -> Path:
        return report.save(tmp_path, {"commit": "abc", "cpus": "2", "engine": "Docker"}, {"queue": figures})

    return save


def test_the_file_holds_every_sample_its_section_and_its_place(saved: Callable[..., Path]) -> None:
    file = saved(Figure("x", "s", (1.0, 3.0), Target("<", 1.0)), result(5, 0.1))
    plain, placed = json.loads(file.read_text())["figures"]
    assert (plain["section"], plain["samples"], plain["median"]) == ("queue", [1.0, 3.0], 2.0)
    assert (plain["target"], plain["verdict"], plain["point"]) == ("< 1", "MISSED", None)
    assert placed["point"] == {"axis": "runs that wait", "at": 5, "line": "CPU per run"}


def test_curves_are_told_apart_by_axis_and_unit_and_go_from_left_to_right(saved: Callable[..., Path]) -> None:
    file = saved(result(100, 0.2), Figure("x", "s", (1.0,)), result(1, 0.1), result(1, 9.0, "runs", "/min"))
    seconds, rate = panels(json.loads(file.read_text()))
    assert (seconds.axis, seconds.unit, seconds.lines) == (
        "runs that wait",
        "s",
        {"CPU per run": [(1, 0.1), (100, 0.2)]},
    )
    assert rate.lines == {"runs": [(1, 9.0)]}


def test_the_newest_results_are_taken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make bench"):
        newest(tmp_path)
    for name in ("2026-11-02T000000Z.json", "2026-11-10T000000Z.json", "2026-11-10T000000Z.png"):
        (tmp_path / name).touch()
    assert newest(tmp_path).name == "2026-11-10T000000Z.json"
