import json

import pytest

from tests.bench.figures import Figure, Pair, comparison
from tests.bench.report import table


@pytest.mark.parametrize(
    ("median", "verdict"), [(0.149, "reached"), (0.15, "MISSED"), (0.151, "MISSED"), (-0.01, "reached")]
)
def test_a_target_is_reached_below_it_only(median: float, verdict: str) -> None:
    assert Figure("overhead", "s", (median,), target=0.15).verdict == verdict


def test_a_figure_without_a_target_has_no_verdict() -> None:
    assert Figure("floor", "s", (1.0,)).verdict == ""


def test_the_median_decides_and_not_the_tail() -> None:
    figure = Figure("overhead", "s", (0.1,) * 9 + (5.0,), target=0.15)
    assert figure.verdict == "reached"
    assert figure.p95 is not None
    assert figure.p95 > 0.15


def test_the_tail_lies_within_the_samples() -> None:
    assert Figure("x", "s", tuple(float(n) for n in range(101))).p95 == pytest.approx(95.0)


def test_a_single_sample_has_no_tail() -> None:
    assert Figure("idle CPU", "%", (0.1,)).p95 is None


def test_overhead_and_ratio_are_of_each_pair_not_of_the_medians() -> None:
    pairs = [Pair(1.0, 1.1), Pair(2.0, 2.6), Pair(4.0, 4.2)]
    figures = {figure.name: figure for figure in comparison("w", pairs, overhead_target=0.15)}
    overhead = figures["w: overhead (worker - floor)"]
    assert overhead.median == pytest.approx(0.2)
    assert overhead.verdict == "MISSED"
    assert figures["w: ratio (worker / floor)"].median == pytest.approx(1.1)
    assert figures["w: its floor"].verdict == ""


def test_the_table_says_what_was_missed() -> None:
    rows = table([Figure("idle memory", "MB", (81.0,), target=80.0), Figure("idle CPU", "%", (0.1,), target=0.2)])
    _head, memory, cpu = rows.splitlines()
    assert memory.split() == ["idle", "memory", "81.000", "MB", "1", "<", "80", "MISSED"]
    assert cpu.endswith("reached")


def test_the_file_holds_every_sample() -> None:
    saved = json.loads(json.dumps(Figure("x", "s", (1.0, 3.0), target=1.0).as_json()))
    assert saved["samples"] == [1.0, 3.0]
    assert (saved["median"], saved["verdict"]) == (2.0, "MISSED")
