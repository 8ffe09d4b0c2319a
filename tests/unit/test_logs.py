import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from worker import logs

SECRETS = [
    "https://store.example.org/c/blob?sv=2021&sig=TOPSECRET%3D&se=2026",
    "GET /c/blob?sig=TOPSECRET HTTP/1.1",
    "https://b.s3.example.org/key?X-Amz-Credential=TOPSECRET&X-Amz-Signature=TOPSECRET",
    "amqp://user:TOPSECRET@broker:5672/vhost",
    "pyamqp://TOPSECRET:TOPSECRET@broker//",
    "amqp://user:p@TOPSECRET@broker/vhost",
    '{"X-Amz-Signature": "TOPSECRET"}',
    "{'X-Amz-Security-Token': 'TOPSECRET'}",
    "x-goog-signature=TOPSECRET",
    # percent-encoded, once and twice
    "https%3A%2F%2Fstore.example.org%2Fblob%3Fsv%3D1%26sig%3DTOPSECRET",
    "redirect=/x%3Fsig%3DTOPSECRET",
    "sig%253DTOPSECRET",
    "amqp%3A%2F%2Fuser%3ATOPSECRET%40broker",
    # headers, as they are written, and as libraries show them
    "Authorization: Basic VE9QU0VDUkVU-TOPSECRET",
    "authorization: Bearer TOPSECRET.TOPSECRET",
    "{'Authorization': 'SharedKey account:TOPSECRET'}",
    '"Proxy-Authorization": "Basic TOPSECRET"',
    "Authorization: AWS4-HMAC-SHA256 Credential=AKID/x, SignedHeaders=host, Signature=TOPSECRET",
    "Authorization: SharedAccessSignature sr=x&sig=TOPSECRET&se=1",
    "curl -H 'Bearer TOPSECRET'",
    '{"X-Registry-Auth": "TOPSECRET"}',
    # credentials by name
    "{'username': 'u', 'password': 'TOPSECRET'}",
    "docker login -u u password=TOPSECRET",
    '{"identitytoken":"TOPSECRET"}',
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=TOPSECRET==;EndpointSuffix=x",
    "AWSAccessKeyId=TOPSECRET&Signature=TOPSECRET&Expires=1",
    "env AWS_SECRET_ACCESS_KEY=TOPSECRET",
    '[17, {"submission_id": 17, "secret": "TOPSECRET"}]',
    "task_args={'secret': 'TOPSECRET'}",
]


@pytest.mark.parametrize("text", SECRETS)
def test_nothing_secret_is_left(text: str) -> None:
    assert "TOPSECRET" not in logs.redact(f"before {text} after")


@pytest.mark.parametrize(
    "text",
    [
        "pulled https://registry.example.org/v2/team/image in 3 s (a=b?) from user@host",
        "a design signature was checked; the password was wrong; no secret here",
        "registry.example.org/team/image@sha256:0123456789abcdef",
        "unauthorized: authentication required",
        "Basic things go wrong",
    ],
)
def test_what_is_harmless_stays(text: str) -> None:
    assert logs.redact(text) == text


@pytest.mark.parametrize(
    "value",
    [
        b"GET /x?sig=TOPSECRET",
        bytearray(b"sig=TOPSECRET"),
        {"deep": [{"er": ("x", {"sig=TOPSECRET"})}]},
        {"sig=TOPSECRET": 1},
        {b"headers": {"Authorization": b"Basic TOPSECRET"}},
        {"access_token": "TOPSECRET"},
        {"Signature": "TOPSECRET"},
        OSError("cannot reach amqp://user:TOPSECRET@broker"),
        ValueError({"secret": "TOPSECRET"}),
        [ExceptionGroup("several", [OSError("x?sig=TOPSECRET")]), KeyError("sig=TOPSECRET")],
    ],
)
def test_nothing_secret_is_left_in_values_of_any_kind(value: object) -> None:
    event = logs.redact_event(None, "info", {"event": "x", "value": value})
    assert "TOPSECRET" not in json.dumps(event)


def test_a_very_long_line_is_redacted_in_no_time() -> None:
    text = "https://" * 5_000 + "a" * 50_000 + "password" * 5_000 + " " + "authorization: " * 2_500
    began = time.process_time()
    logs.redact(text)
    assert time.process_time() - began < 2


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Puts back what `configure` changes for the whole process."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    of_structlog = structlog.get_config()
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    structlog.configure(**of_structlog)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail() -> None:
    raise OSError(SECRETS[1])


@pytest.mark.usefixtures("_own_logging")
def test_every_event_is_one_line_of_json_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    structlog.get_logger("test").warning(
        "what", url=SECRETS[0], nested={"a": [SECRETS[3]], "secret": "TOPSECRET"}, password="TOPSECRET", count=3
    )
    try:
        fail()
    except OSError:
        structlog.get_logger("test").exception("with a traceback")
    logging.getLogger("some.library").warning("from %s", SECRETS[2])
    written = lines(capsys)
    assert [line["event"][:4] for line in written] == ["what", "with", "from"]
    assert "TOPSECRET" not in json.dumps(written)
    assert written[0]["count"] == 3


@pytest.mark.usefixtures("_own_logging")
def test_below_the_level_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    structlog.get_logger("test").debug("detail")
    assert lines(capsys) == []
