from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import json_text
from protocol.celery_envelope import CeleryTask, decode, encode
from protocol.faults import MessageFault
from tests.support import captured

SECRET = "s3cr3t-0000"
ARGS = [7, {"secret": SECRET}]
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
HEADERS_2: dict[str, object] = {"task": "t", "id": "i"}


def decoded(
    document: object,
    *,
    headers: Mapping[str, object] | None = None,
    content_type: str | None = "application/json",
    content_encoding: str | None = "utf-8",
) -> CeleryTask:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode(body, headers=headers, content_type=content_type, content_encoding=content_encoding)


def refusal(document: object, **properties: object) -> MessageFault:
    with pytest.raises(MessageFault) as caught:
        decoded(document, **properties)  # type: ignore[arg-type]
    return caught.value


def protocol_1(**changes: object) -> dict[str, object]:
    return {"task": "t", "id": "i", "args": ARGS, "kwargs": {}} | changes


@pytest.mark.parametrize("name", captured.names("run-*") + captured.names("update-*"))
def test_every_captured_message_decodes_to_what_the_client_sent(name: str) -> None:
    message = captured.load(name)
    task = message.decode()
    one = isinstance(message.document, dict)
    assert list(task.args) == (message.document["args"] if one else message.document[0])
    assert task.name == (message.document["task"] if one else message.headers["task"])
    assert task.id == message.properties["correlation_id"]
    assert task.kwargs == {}
    assert task.expires is None


def test_dead_lettered_protocol_1_has_headers_and_is_still_protocol_1() -> None:
    message = captured.load("run-dead-lettered-delivery-proto1")
    assert "x-death" in message.headers
    assert message.decode().name == "compute_worker_run"


def test_the_least_that_an_integrator_can_send() -> None:
    task = decoded({"task": "t", "id": "i", "args": [1]}, content_encoding=None)
    assert task == CeleryTask("t", "i", (1,), {}, None)


def test_zlib_bodies_as_celery_compresses_them() -> None:
    body = zlib.compress(json.dumps(protocol_1()).encode())
    assert decoded(body, headers={"compression": "application/x-gzip"}).args == tuple(ARGS)


@pytest.mark.parametrize("compression", ["application/x-bz2", ["zlib"], 5, b"zlib"])
def test_other_compression_is_refused(compression: object) -> None:
    assert refusal(protocol_1(), headers={"compression": compression}).field == "compression"


@pytest.mark.parametrize("body", [b"", b"not zlib", zlib.compress(b'{"task": "t"}')[:-5]])
def test_bodies_that_are_no_whole_zlib_stream(body: bytes) -> None:
    assert "zlib" in refusal(body, headers={"compression": "zlib"}).sentence


def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(b" " * (3 * json_text.MAX_BYTES), level=1)
    assert "larger than" in refusal(bomb, headers={"compression": "zlib"}).sentence


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-python-serialize"])
def test_only_json_is_read(content_type: str | None) -> None:
    assert refusal(protocol_1(), content_type=content_type).field == "content_type"


def test_only_utf_8_is_read() -> None:
    assert refusal(protocol_1(), content_encoding="utf-16").field == "content_encoding"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON (line 1, column 1)"),
        (b"{'a': 1}", "not JSON"),
        (b'{"task": "caf\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nests deeper than 32 levels"),
        (b"[" * 40 + b"1" + b"]" * 40, "nests deeper than 32 levels"),
        (b"1" * 5000, "too many digits"),
        (b" " * (json_text.MAX_BYTES + 1), "larger than 1048576 bytes"),
        (b"5", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
def test_bodies_that_are_no_message(body: bytes, words: str) -> None:
    fault = refusal(body)
    assert words in fault.sentence
    assert (fault.task_id, fault.secret) == (None, None)


def test_nesting_up_to_the_limit_passes() -> None:
    deep = b"[" * json_text.MAX_DEPTH + b"]" * json_text.MAX_DEPTH
    assert json_text.parse(deep)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"task": None}, "task"),
        ({"task": ["t"]}, "task"),
        ({"id": None}, "id"),
        ({"id": 5}, "id"),
        ({"id": ""}, "id"),
        ({"id": "../../etc"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"kwargs": []}, "kwargs"),
        ({"expires": "tomorrow"}, "expires"),
        ({"expires": 20261121}, "expires"),
        ({"expires": "9999-12-31T23:59:59-12:00"}, "expires"),
    ],
)
def test_what_is_wrong_is_named_and_the_site_can_be_told(changes: dict[str, object], field: str) -> None:
    fault = refusal(protocol_1(**changes))
    assert (fault.field, fault.task_id, fault.secret) == (field, 7, SECRET)
    assert SECRET not in f"{fault.sentence}{fault.detail}{fault!r}"


@pytest.mark.parametrize("args", [None, {}, "ab", 5])
def test_args_that_are_no_list(args: object) -> None:
    assert refusal(protocol_1(args=args)).field == "args"


@pytest.mark.parametrize(
    "args",
    [
        [True, {"secret": SECRET}],
        [-1, {"secret": SECRET}],
        [7, {"secret": ""}],
        [7, {"secret": "a\x00"}],
        [7],
    ],
)
def test_nobody_is_told_where_job_id_or_secret_is_no_good(args: list[object]) -> None:
    fault = refusal(protocol_1(args=args, id=None))
    assert (fault.task_id, fault.secret) == (None, None)


def test_protocol_2_without_id_is_a_fault_not_a_crash() -> None:
    fault = refusal([ARGS, {}, EMBED], headers={"task": "t"})
    assert (fault.field, fault.task_id) == ("id", 7)


@pytest.mark.parametrize("body", [[ARGS, {}], protocol_1(), [], 5])
def test_protocol_2_needs_three_elements(body: object) -> None:
    assert "[args, kwargs, embed]" in refusal(body, headers=HEADERS_2).sentence


def test_protocol_2_with_two_elements_still_says_whom_to_tell() -> None:
    assert refusal([ARGS, {}], headers=HEADERS_2).secret == SECRET


def test_protocol_2_takes_an_embed_of_null() -> None:
    assert decoded([ARGS, {}, None], headers=HEADERS_2).args == tuple(ARGS)


@pytest.mark.parametrize(
    "expires",
    ["2026-11-21T12:00:00", "2026-11-21T12:00:00Z", "2026-11-21T14:00:00+02:00", datetime(2026, 11, 21, 12)],  # noqa: DTZ001
)
def test_expires_is_utc_unless_it_says_otherwise(expires: object) -> None:
    headers = {**HEADERS_2, "expires": expires}
    assert decoded([ARGS, {}, EMBED], headers=headers).expires == datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_nan_passes_for_its_field_is_checked_later() -> None:
    body = b'{"task": "t", "id": "i", "args": [NaN, Infinity]}'
    assert len(decoded(body).args) == 2


def test_printing_a_task_shows_no_arguments() -> None:
    assert SECRET not in repr(decoded(protocol_1()))


def test_what_goes_out_is_byte_for_byte_what_site_workers_accepted() -> None:
    message = captured.load("pika-update-proto1")
    made = encode(message.document["task"], message.document["args"], task_id=message.document["id"])
    assert made.body == message.body
    assert made.properties == {**message.properties, "headers": message.headers}


@pytest.mark.parametrize("name", captured.names("update-*-celery3.1.25-proto1"))
def test_what_goes_out_means_what_the_shipped_worker_means(name: str) -> None:
    message = captured.load(name)
    made = encode(message.document["task"], message.document["args"], task_id=message.document["id"])
    assert json.loads(made.body) == message.document
    assert {**made.properties, "reply_to": message.properties["reply_to"]} == {
        **message.properties,
        "headers": {},
    }


def test_nan_cannot_go_out() -> None:
    with pytest.raises(MessageFault, match="NaN"):
        encode("t", [float("nan")], task_id="i")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(["task", "id", "compression"]), json_values))
def test_no_bytes_raise_anything_but_a_fault(body: bytes, headers: dict[str, object]) -> None:
    with suppress(MessageFault):
        assert decoded(body, headers=headers).id


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("task", "id", "args", "kwargs", "expires"), json_values)),
    st.booleans(),
)
def test_no_document_raises_anything_but_a_fault(document: dict[str, object], second: bool) -> None:
    body: object = [document.get("args"), document.get("kwargs"), None] if second else document
    with suppress(MessageFault):
        assert decoded(body, headers=document if second else None).id


@given(st.lists(json_values.filter(lambda value: "nan" not in repr(value) and "inf" not in repr(value))))
def test_what_is_encoded_decodes_to_itself(args: list[object]) -> None:
    made = encode("t", args, task_id="i")
    assert decoded(made.body, headers={}) == CeleryTask("t", "i", tuple(args), {}, None)
