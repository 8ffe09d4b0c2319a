"""Requests of real Celery clients and Flower, and those of whoever else may write to the exchange."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import celery_control
from protocol.celery_control import (
    INBOX_ARGUMENTS,
    MAX_NAME,
    REPLY_EXCHANGE,
    REQUEST_EXCHANGE,
    ControlRequest,
    ControlRequestError,
    decode,
    encode_reply,
    inbox,
    node_name,
)
from tests.support import captured

CALLERS = ["*-celery3.1.25", "*-celery4.4.6", "*-celery5.6.2", "*-celery5.7.0"]
SOMEBODY = "compute-worker@compute-1"

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
_KEYS = ("method", "arguments", "destination", "pattern", "matcher", "ticket", "reply_to", "something else")
_requests = st.fixed_dictionaries({}, optional=dict.fromkeys(_KEYS, _json))


def request(**changes: Any) -> ControlRequest:
    return decode(json.dumps({"method": "ping", **changes}).encode())


@pytest.mark.parametrize("those", [*(f"control-request-{caller}" for caller in CALLERS), "flower-request-*"])
def test_a_request_of_a_real_client_is_read_whole(those: str) -> None:
    for name in captured.names(those):
        sample = captured.load(name)
        document, read = sample.document, decode(sample.body)
        assert sample.exchange == REQUEST_EXCHANGE, name
        assert read == ControlRequest(
            method=document["method"],
            arguments=document["arguments"],
            destination=tuple(document["destination"] or ()),
            pattern=document.get("pattern"),
            matcher=document.get("matcher"),
            ticket=document.get("ticket"),
            reply_key=document.get("reply_to", {}).get("routing_key"),
        ), name
        assert all(read.concerns(node) for node in read.destination or (SOMEBODY,)), name


@pytest.mark.parametrize("those", CALLERS)
def test_a_reply_is_what_a_real_worker_sends(those: str) -> None:
    for name in captured.names(f"control-reply-{those}"):
        sample = captured.load(name)
        ((node, result),) = sample.document.items()
        ticket, clock = sample.headers["ticket"], sample.headers["clock"]
        reply = encode_reply(node, result, ticket=str(ticket), clock=int(str(clock)))
        assert sample.exchange == REPLY_EXCHANGE, name
        assert json.loads(reply.body) == sample.document, name
        assert reply.properties == {**sample.properties, "headers": sample.headers}, name


def test_the_inbox_is_celerys_of_the_forgiving_form() -> None:
    (declared,) = {
        json.dumps(arguments)
        for name in captured.names("worker-startup-methods-celery4*")
        for arguments in _inbox_arguments(captured.methods(name))
    }
    assert json.loads(declared) == INBOX_ARGUMENTS
    assert inbox("codalab-worker@host") == "codalab-worker@host.celery.pidbox"


def _inbox_arguments(methods: list[Any]) -> list[Any]:
    return [
        one["arguments"]["arguments"]
        for one in methods
        if one["method"] == "Queue.Declare" and one["arguments"]["queue"].endswith(f".{REQUEST_EXCHANGE}")
    ]


@pytest.mark.parametrize(
    ("changes", "concerned"),
    [
        ({}, True),
        ({"destination": []}, True),
        ({"destination": ["me@host"]}, True),
        ({"destination": "me@host"}, True),
        ({"destination": ["you@host", "me@host"]}, True),
        ({"destination": ["you@host"]}, False),
        ({"destination": ["me@host"], "pattern": "you*", "matcher": "glob"}, True),
        ({"pattern": "me@*", "matcher": "glob"}, True),
        ({"pattern": "you@*", "matcher": "glob"}, False),
        ({"pattern": ".*", "matcher": "pcre"}, False),
        ({"pattern": "*"}, True),
    ],
)
def test_whom_a_request_is_for(changes: dict[str, Any], concerned: bool) -> None:
    assert request(**changes).concerns("me@host") is concerned


def test_a_pattern_takes_no_longer_however_it_is_made() -> None:
    assert not request(pattern="a*" * 120 + "c", matcher="glob").concerns("a" * 200 + "@b")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": None},
        {"method": 5},
        {"method": ""},
        {"method": "pi\nng"},
        {"method": "é" * 128},
        {"arguments": [1]},
        {"destination": {"me@host": 1}},
        {"destination": [5]},
        {"pattern": 5},
        {"ticket": {}},
        {"ticket": "\ud800"},
        {"reply_to": "me"},
        {"reply_to": {"exchange": REPLY_EXCHANGE}},
        {"reply_to": {"exchange": REPLY_EXCHANGE, "routing_key": "k" * (MAX_NAME + 1)}},
        {"reply_to": {"exchange": "", "routing_key": "compute-worker"}},
        {"reply_to": {"exchange": "submission-updates", "routing_key": "submission-updates"}},
    ],
)
def test_what_makes_no_sense_is_no_request(changes: dict[str, Any]) -> None:
    with pytest.raises(ControlRequestError):
        request(**changes)


@pytest.mark.parametrize(
    "body", [b"", b"ping", b"[]", b"5", b"\xff", b"[" * 5000, b'{"method": "ping"' + b" " * (1 << 20)]
)
def test_what_is_no_json_object_is_no_request(body: bytes) -> None:
    with pytest.raises(ControlRequestError, match=r"^The request "):
        decode(body)


def test_what_it_does_not_read_is_never_quoted() -> None:
    with pytest.raises(ControlRequestError) as caught:
        request(ticket=["s3cret"])
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(request(arguments={"secret": "s3cret"}))


@given(_requests)
def test_any_document_is_a_request_or_none(document: dict[str, Any]) -> None:
    try:
        read = decode(json.dumps(document).encode())
    except ControlRequestError:
        return
    assert isinstance(read.concerns("me@host"), bool)
    if read.reply_key is not None:
        encode_reply("me@host", celery_control.unknown_method(read.method), ticket=read.ticket, clock=1)
        assert len(read.reply_key.encode()) <= MAX_NAME


@given(st.binary(max_size=200))
def test_any_bytes_are_no_request(body: bytes) -> None:
    with pytest.raises(ControlRequestError, match=r"^The request "):
        decode(body)


@pytest.mark.parametrize("version", ["4.4.6", "5.6.2", "5.7.0"])
def test_an_unknown_method_is_answered_as_celery_does(version: str) -> None:
    sample = captured.load(f"control-reply-unknown-method-celery{version}")
    assert [celery_control.unknown_method("no_such_command")] == list(sample.document.values())


@pytest.mark.parametrize(
    ("hostname", "identity", "name"),
    [
        ("compute-1", "", "codalab-worker@compute-1"),
        ("compute-1", "0a1b2c3d", "codalab-worker-0a1b2c3d@compute-1"),
        ("GPU box, room 5\n", "", "codalab-worker@GPU-box-room-5-"),
        ("größe", "", "codalab-worker@größe"),
    ],
)
def test_the_name_of_a_node(hostname: str, identity: str, name: str) -> None:
    assert node_name(hostname, identity) == name


@given(st.text(), st.sampled_from(["", "0123456789abcdef"]))
def test_a_nodes_inbox_always_fits_into_a_queue_name(hostname: str, identity: str) -> None:
    assert len(inbox(node_name(hostname, identity)).encode()) <= MAX_NAME
