"""Updates read back off the wire, which anybody who may write to the exchange can have put there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import captured
from worker.broker.updates import Update, read_update

SECRET = "fake-secret-00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("state", ["running", "finished", "failed"])
def test_every_captured_update_is_read(state: str) -> None:
    for name in captured.names(f"update-{state}-*"):
        update = read_update(captured.load(name).body)
        assert update is not None
        assert (update.task_id, update.status, update.terminal) == (4242, state, state != "running")
        assert update.extra["metadata"]["hostname"] == "compute-1"  # type: ignore[index]
        assert bool(update.traceback) == (state == "failed")
        assert SECRET not in f"{update!r}{update.as_json()}"


@pytest.mark.parametrize("body", [b"", b"\xff", b"5", b"{}", b"[]", b'{"args": [1, {}, "s"]}', b"[" * 100_000])
def test_what_is_no_update_is_passed_over(body: bytes) -> None:
    assert read_update(body) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["status", "extra", "a"]), inner),
    max_leaves=6,
)


@given(st.binary(max_size=50) | st.tuples(values, values, values).map(lambda args: json.dumps([args, {}, {}]).encode()))
def test_any_body_is_an_update_or_none(body: bytes) -> None:
    update = read_update(body)
    assert update is None or isinstance(update, Update)
    if update:
        assert json.loads(update.as_json())["status"] == update.status
