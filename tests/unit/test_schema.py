"""The JSON Schema of the run message, against what sites really send and what the worker refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from protocol import codalab
from protocol.celery_envelope import CeleryTask
from protocol.faults import Fault
from tests.support import captured
from worker.cli import main

SIGNED = "https://store.example.org/c/run.zip?sig=S1GNATURE"
LEAST: Mapping[str, object] = {"bundle_url": SIGNED, "secret": "s3cr3t", "docker_image": "codalab/codalab-legacy:py37"}
SUBMISSION = {"submit_docker_command": "team/model:1"}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """As an integrator makes one: of what the command prints."""
    printed = CliRunner().invoke(main, ["schema"])
    assert printed.exit_code == 0
    schema = json.loads(printed.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def arguments(name: str) -> list[Any]:
    return list(captured.load(name).decode().args)


@pytest.mark.parametrize("name", captured.names("run-v1-*"))
def test_every_captured_message_validates_in_both_forms(validator: Draft202012Validator, name: str) -> None:
    task_id, task_args = arguments(name)
    validator.validate([task_id, task_args])
    validator.validate({"id": task_id, "task_args": task_args, "status": "submitted"})


@pytest.mark.parametrize("name", captured.names("run-v2-*") + captured.names("run-dead-lettered-*"))
def test_what_is_captured_and_is_no_whole_codalab_run_does_not(validator: Draft202012Validator, name: str) -> None:
    assert not validator.is_valid(arguments(name))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fork_only": 9},
        {"stdout_url": "", "stderr_url": None, "submission_id": None, "predict": None},
        {"execution_time_limit": -1, "max_execution_time_limit": 0.5, "previous_execution_time": None},
        {"docker_image": None, "predict": True, **SUBMISSION},
    ],
)
def test_what_the_worker_takes_validates(validator: Draft202012Validator, changes: dict[str, object]) -> None:
    message = [7, {**LEAST, **changes}]
    validator.validate(message)
    work(message)


MISSING = "(left out)"
BROKEN: list[dict[str, object]] = [
    {"bundle_url": MISSING},
    {"secret": MISSING},
    {"docker_image": MISSING},
    {"docker_image": MISSING, "predict": False, **SUBMISSION},
    {"bundle_url": ""},
    {"bundle_url": None},
    {"bundle_url": "ftp://example.org/a"},
    {"bundle_url": "https://"},
    {"stdout_url": "file:///etc/passwd"},
    {"output_url": ["https://example.org"]},
    {"stderr_url": "https://a/" + "x" * 8192},
    {"secret": ""},
    {"secret": 5},
    {"secret": "x" * 513},
    {"docker_image": {}},
    {"docker_image": "x" * 513},
    {"submit_docker_command": ["docker", "run"]},
    {"submit_docker_command": "x" * 8193},
    {"predict": "maybe"},
    {"execution_time_limit": "600"},
    {"execution_time_limit": True},
    {"previous_execution_time": 2**31},
    {"submission_id": "../a"},
    {"submission_id": 1.5},
]


@pytest.mark.parametrize("changes", BROKEN, ids=repr)
def test_what_is_broken_does_not_validate_and_is_refused(
    validator: Draft202012Validator, changes: dict[str, object]
) -> None:
    message = [7, {key: value for key, value in {**LEAST, **changes}.items() if value != MISSING}]
    assert not validator.is_valid(message)
    with pytest.raises(Fault):
        work(message)


@pytest.mark.parametrize(
    "message", [{}, 5, [], [7], [7, LEAST, 8], [7, None], [-1, LEAST], ["a/b", LEAST], [None, LEAST], {"id": 7}]
)
def test_what_is_no_message_does_not_validate_and_is_refused(validator: Draft202012Validator, message: object) -> None:
    assert not validator.is_valid(message)
    with pytest.raises(Fault):
        work(message)


def work(message: object) -> None:
    """As the worker reads it: off the wire where it has arguments, else as a file."""
    if isinstance(message, list):
        codalab.run_request(CeleryTask(codalab.RUN_TASK, "message-1", tuple(message), {}, None))
    codalab.parse_message_file(json.dumps(message), message_id="message-1")
