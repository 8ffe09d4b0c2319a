from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from protocol.celery_envelope import encode
from protocol.status import MAX_TRACEBACK, UPDATE_TASK, RunMetadata, State, StatusUpdate, may_follow
from tests.support import captured

SECRET = "fake-secret-00000000-0000-4000-8000-000000000000"
MEASURED = RunMetadata(
    hostname="compute-1",
    beginning_virtual_memory_usage='{"total": 1, "percent": 0.5}',
    beginning_swap_memory_usage='{"total": 0}',
    beginning_cpu_usage=1.5,
)


def sent_traceback(text: str) -> str:
    update = StatusUpdate(1, State.FAILED, RunMetadata("h"), text, secret=SECRET)
    traceback = update.arguments()[1]["extra"]["traceback"]  # type: ignore[index]
    assert isinstance(traceback, str)
    return traceback


@pytest.mark.parametrize("state", list(State))
def test_updates_are_those_of_the_shipped_worker(state: State) -> None:
    message = captured.load(f"update-{state}-celery3.1.25-proto1")
    told = "Traceback (most recent call last):\n  ...\nException: Program command is not specified."
    update = StatusUpdate(4242, state, MEASURED, told, secret=SECRET)
    envelope = encode(UPDATE_TASK, update.arguments(), task_id=message.document["id"])
    assert json.loads(envelope.body) == message.document


def test_what_was_not_measured_is_null_or_disabled() -> None:
    unmeasured = {key: value for key, value in asdict(RunMetadata("h")).items() if value is not None}
    assert unmeasured == {"hostname": "h", "processes_running_in_temp_dir": "<DISABLED>"}


@pytest.mark.parametrize(
    ("previous", "legal"),
    [
        (None, {State.RUNNING, State.FAILED}),
        (State.RUNNING, {State.FINISHED, State.FAILED}),
        (State.FINISHED, set()),
        (State.FAILED, set()),
    ],
)
def test_the_order_of_states(previous: State | None, legal: set[State]) -> None:
    assert {state for state in State if may_follow(previous, state)} == legal


def test_a_long_traceback_keeps_its_first_sentence_and_its_end() -> None:
    sent = sent_traceback("Your submission failed.\n" + "x" * 100_000 + "\nthe end")
    assert len(sent) == MAX_TRACEBACK
    assert sent.startswith("Your submission failed.\n")
    assert sent.endswith("\nthe end")
    assert "left out" in sent


def test_a_short_traceback_is_whole() -> None:
    assert sent_traceback("é\n\tok 😀") == "é\n\tok 😀"


def test_a_traceback_never_holds_what_the_sites_database_refuses() -> None:
    assert sent_traceback("a\x00b\ud800c\x1b[31m\r\n") == "a\ufffdb\ufffdc\ufffd[31m\r\n"


def test_printing_an_update_shows_no_secret() -> None:
    assert SECRET not in repr(StatusUpdate(1, State.RUNNING, MEASURED, secret=SECRET))
