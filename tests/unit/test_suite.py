"""What becomes of a test that fails side by side with others: the suite must be able to fail."""

from __future__ import annotations

import pytest

from tests.suite import AGAIN, ALONE, MOST_AGAIN, SIDE_BY_SIDE, work

PASSED, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED


class Runs:
    """Runs of pytest: what each part ends with, and which tests are said to have failed after it."""

    def __init__(self, **ends: tuple[int, list[str]]) -> None:
        self._ends = {parts: ends.get(name, (PASSED, [])) for name, parts in _PARTS.items()}
        self._failed: list[str] = []
        self.parts: list[tuple[str, ...]] = []

    def run(self, *words: str) -> int:
        self.parts.append(words)
        code, self._failed = self._ends[words]
        return int(code)

    def failed(self) -> list[str]:
        return self._failed


_PARTS = {"side": SIDE_BY_SIDE, "again": AGAIN, "alone": ALONE}


def test_who_passes_at_once_is_not_tried_again() -> None:
    runs = Runs()
    assert work(runs.run, runs.failed) == (PASSED, [])
    assert runs.parts == [SIDE_BY_SIDE, ALONE]


def test_who_fails_twice_has_failed_and_the_others_are_told_as_unsteady() -> None:
    runs = Runs(side=(FAILED, ["b", "a", "c"]), again=(FAILED, ["b"]))
    assert work(runs.run, runs.failed) == (FAILED, ["a", "c"])
    assert runs.parts == [SIDE_BY_SIDE, AGAIN, ALONE]


def test_who_passes_with_nothing_beside_it_is_told_as_unsteady() -> None:
    runs = Runs(side=(FAILED, ["a"]))
    assert work(runs.run, runs.failed) == (PASSED, ["a"])


@pytest.mark.parametrize(
    "side",
    [
        (FAILED, [f"test {number}" for number in range(MOST_AGAIN + 1)]),
        (pytest.ExitCode.INTERRUPTED, ["a"]),
        (pytest.ExitCode.INTERNAL_ERROR, []),
        (pytest.ExitCode.NO_TESTS_COLLECTED, []),
    ],
)
def test_what_no_stall_explains_is_not_tried_again(side: tuple[int, list[str]]) -> None:
    runs = Runs(side=side)
    assert work(runs.run, runs.failed) == (side[0], [])
    assert runs.parts == [SIDE_BY_SIDE, ALONE]


def test_what_runs_alone_has_one_try() -> None:
    runs = Runs(alone=(FAILED, ["a"]))
    assert work(runs.run, runs.failed) == (FAILED, [])
