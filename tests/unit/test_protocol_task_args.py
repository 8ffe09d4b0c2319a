from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from protocol import codalab
from protocol.celery_envelope import CeleryTask
from protocol.faults import MessageFault
from protocol.run import RunRequest

SECRET = "s3cr3t-0000"
SIGNATURE = "S1GNATURE"
SIGNED = f"https://store.example.org/c/run.zip?sig={SIGNATURE}"
LEAST: Mapping[str, object] = {"bundle_url": SIGNED, "secret": SECRET, "docker_image": "codalab/codalab-legacy:py37"}


def requested(**fields: object) -> RunRequest:
    return codalab.run_request(CeleryTask(codalab.RUN_TASK, "message-1", (7, {**LEAST, **fields}), {}, None))


def refusal(**fields: object) -> MessageFault:
    with pytest.raises(MessageFault) as caught:
        requested(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("given", "meant"),
    [(600, 600.0), (0.5, 0.5), (0, None), (-5, None), (None, None), (2**31 - 1, 2.0**31 - 1)],
)
def test_time_limits(given: object, meant: float | None) -> None:
    assert requested(execution_time_limit=given).time_limit == meant


@pytest.mark.parametrize("given", [True, "600", [600], math.nan, math.inf, -math.inf, 2**31, 10**400, 1e300])
def test_time_limits_that_are_none(given: object) -> None:
    fault = refusal(execution_time_limit=given)
    assert fault.field == "execution_time_limit"
    assert "seconds" in fault.sentence


@pytest.mark.parametrize("given", [True, "true", "True", "TRUE", 1, "1"])
def test_what_is_true(given: object) -> None:
    assert requested(predict=given).predict is True


@pytest.mark.parametrize("given", [False, "false", "False", 0, "0", "", None])
def test_what_is_false(given: object) -> None:
    assert requested(predict=given).predict is False


@pytest.mark.parametrize("given", ["yes please", 2, -1, 0.5, [], {}])
def test_what_is_neither(given: object) -> None:
    assert refusal(predict=given).sentence == "The run message's field predict must be true or false."


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("bundle_url", "", "is empty"),
        ("bundle_url", None, "is empty"),
        ("bundle_url", 5, "must be a text"),
        ("bundle_url", "ftp://example.org/a", "must be an http or https URL"),
        ("bundle_url", "file:///etc/passwd", "must be an http or https URL"),
        ("bundle_url", f"//{SECRET}", "must be an http or https URL"),
        ("bundle_url", "https://", "must be an http or https URL"),
        ("bundle_url", "https://[::1/a", "must be an http or https URL"),
        ("bundle_url", "https://example.org:99999/", "must be an http or https URL"),
        ("bundle_url", "https://evil\\@example.org/", "must be an http or https URL"),
        ("bundle_url", f"{SIGNED}\nHost: a", "must not hold control characters"),
        ("bundle_url", f"{SIGNED}\ud800", "must not hold control characters"),
        ("stdout_url", "http://a/" + "x" * 8192, "is longer than 8192 characters"),
        ("stderr_url", ["http://a"], "must be a text"),
        ("secret", "", "is empty"),
        ("secret", None, "is empty"),
        ("secret", 5, "must be a text"),
        ("secret", "x" * 513, "is longer than 512 characters"),
        ("docker_image", "x" * 513, "is longer than 512 characters"),
        ("docker_image", "Team/Image", "must be an image reference"),
        ("docker_image", "a image", "must be an image reference"),
        ("docker_image", {}, "must be a text"),
        ("docker_image", "", "is missing"),
        ("ingestion_program_docker_image", "-v", "must be an image reference"),
        ("submit_docker_command", 5, "must be a text"),
        ("submit_docker_command", "x" * 8193, "is longer than 8192 characters"),
        ("submission_id", True, "must be a whole number"),
        ("submission_id", 1.5, "must be a whole number"),
        ("submission_id", "../a", "must be a whole number"),
    ],
)
def test_each_wrong_field_is_named(field: str, value: object, reason: str) -> None:
    fault = refusal(**{field: value})
    assert fault.field == field
    assert fault.sentence.startswith(f"The run message's field {field} {reason}")
    assert SECRET not in f"{fault!r}{fault.detail}"
    assert SIGNATURE not in f"{fault!r}{fault.detail}"
    told = (None, None) if field == "secret" else (7, SECRET)
    assert (fault.task_id, fault.secret) == told
