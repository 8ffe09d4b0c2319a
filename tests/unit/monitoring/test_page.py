"""The status page: what it says, and that nothing in it can do anything."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.support.monitored import run, watched
from worker.monitoring.board import Board, Past, Progress
from worker.monitoring.health import Health
from worker.monitoring.page import status_page
from worker.observers import RunEnd, RunEnded, RunInWork
from worker.watched import RunLoad

HOSTILE = '</td><script>alert("x")</script><img src=x onerror=alert(1)> \u202etxt.exe\x1b[2J'


NOW = 2_000_000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.monitoring.page.time", SimpleNamespace(time=lambda: NOW))


def page(
    *, current: list[tuple[Progress, RunLoad]] | None = None, past: list[Past] | None = None, **seen: object
) -> str:
    one = replace(watched(), **seen)  # type: ignore[arg-type]
    return str(status_page(one, Health(one), current or [], past or []).body)


def text(document: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", document))


def test_an_idle_worker() -> None:
    document = page()
    assert "No run is in progress." in document
    assert "No run has ended since the start." in document
    assert "1.2.3" in document
    assert "0 of 1 busy" in document
    assert "State ready" in text(document)
    assert "Free disk 100 GiB" in text(document)


def test_a_run_in_progress() -> None:
    progress = Progress(replace(run(), attempt=2, taken_at=NOW - 70), "participant", NOW - 60)
    shown = text(page(current=[(progress, RunLoad(256 << 20, 12_000, more=True))]))
    assert "17 attempt 2 participant 1 min 10 s ago 9 min 0 s of 10 min 0 s 256 MiB more than 11.7 KiB" in shown


def test_a_stage_without_a_time_limit_and_a_load_that_is_not_known() -> None:
    assert "staging 7 s ago — — —" in text(page(current=[(Progress(fresh(7), "staging", NOW), RunLoad())]))


def test_no_time_is_left_rather_than_less_than_none() -> None:
    assert Progress(run(), "scoring", 1000.0).time_left(1700.0) == 0


def test_a_run_that_ended() -> None:
    ended = RunEnded(RunEnd.FAILED, 90_061, "ParticipantFault", "Your submission ended with exit code 3.")
    shown = text(page(past=[Past(run(), ended, 1_000_000.0)]))
    assert "17 failed 1970-01-12 13:46:40 1 d 1 h Your submission ended with exit code 3." in shown


def test_what_is_in_the_way_is_said() -> None:
    shown = text(page(engine=lambda: False))
    assert "State not ready" in shown
    assert "Engine away" in shown
    assert "the container engine does not answer" in shown


@pytest.mark.parametrize("where", ["sentence", "submission", "message", "stage", "version"])
def test_a_hostile_text_stays_text(where: str) -> None:
    hostile = replace(run(), submission_id=HOSTILE if where == "submission" else None, message_id=HOSTILE)
    sentence = HOSTILE if where == "sentence" else ""
    past = [Past(hostile, RunEnded(RunEnd.FAILED, 1, "ParticipantFault", sentence), 0)]
    current = [(Progress(hostile, HOSTILE if where == "stage" else "staging", 0), RunLoad())]
    document = page(past=past, current=current, version=HOSTILE if where == "version" else "1")
    assert "<script" not in document
    assert "<img" not in document
    assert "&lt;script&gt;" in document
    assert "\u202e" not in document
    assert "\x1b" not in document


def test_a_long_text_is_cut() -> None:
    past = [Past(run(), RunEnded(RunEnd.FAILED, 1, "", "x" * 5000), 0)]
    assert "x" * 600 + "…" in page(past=past)


def test_signatures_are_not_shown() -> None:
    sentence = "The store refused https://store/blob?sv=2020&sig=c2VjcmV0."
    assert "c2VjcmV0" not in page(past=[Past(run(), RunEnded(RunEnd.FAILED, 1, "", sentence), 0)])


def test_the_page_needs_nothing_from_elsewhere_and_may_do_nothing() -> None:
    one = watched()
    answer = status_page(one, Health(one), [], [])
    document, policy = str(answer.body), answer.headers["Content-Security-Policy"]
    assert not re.search(r"\b(src|href|action|style|on\w+)=", document)
    assert "url(" not in document
    (style,) = re.findall(r"<style>(.*?)</style>", document, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{allowed}';")
    assert "unsafe" not in policy


def test_the_board_keeps_the_last_fifty() -> None:
    board = Board()
    for number in range(60):
        one = replace(run(), submission_id=number)
        board.run_taken(one)
        board.run_stage(one, "staging")
        board.run_ended(one, RunEnded(RunEnd.FINISHED, 1))
    board.run_taken(run())
    assert [past.run.submission_id for past in board.past()] == list(range(59, 9, -1))
    assert [progress.stage for progress in board.current()] == [""]
    board.run_stage(run(), "staging")
    assert [progress.stage for progress in board.current()] == ["staging"]


def fresh(seconds: float) -> RunInWork:
    return replace(run(), taken_at=NOW - seconds)
