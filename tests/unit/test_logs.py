import json
import logging
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
    '{"X-Amz-Signature": "TOPSECRET"}',
    "x-goog-signature=TOPSECRET",
]


@pytest.mark.parametrize("text", SECRETS)
def test_nothing_secret_is_left(text: str) -> None:
    assert "TOPSECRET" not in logs.redact(f"before {text} after")


def test_what_is_harmless_stays() -> None:
    text = "pulled https://registry.example.org/v2/team/image in 3 s (a=b?) from user@host"
    assert logs.redact(text) == text


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
