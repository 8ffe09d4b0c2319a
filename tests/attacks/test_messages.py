"""Run messages that mean harm: bombs of JSON, limits beyond all sense, and hostile text in every field.

Messages that are merely wrong stand in tests/acceptance/test_bad_messages.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import docker
import pytest

from tests.attacks.arena import Arena
from tests.attacks.canaries import leaks
from tests.support.competition import ANSWER, Submission
from tests.support.run_queue import run_message

pytestmark = pytest.mark.acceptance

SECRET = "secret-of-a-hostile-message"
_numbers = itertools.count(700_000)

BOMBS: dict[str, tuple[bytes, str]] = {
    "a depth of 200,000 lists": (b"[" * 200_000, "nests deeper than 32 levels"),
    "a depth of 10,000 objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nests deeper than 32 levels"),
    "a number of 5,000 digits": (b"9" * 5_000, "holds a number of too many digits"),
    "a text of two megabytes": (run_message([1, {"x": "y" * (2 << 20)}]), "is larger than 1048576 bytes"),
    "300,000 empty lists": (b"[" + b"[]," * 300_000 + b"[]]", "must"),
    "a key a hundred thousand times": (b"{" + b'"a":1,' * 100_000 + b'"a":1}', "names no task"),
    "a zlib bomb": (b"", "compression"),
    "lone surrogates": (b'{"task": "\\ud800"}', "The run message"),
}
LONG = "x" * 100_000
TEXTS: dict[str, str] = {
    "a line break": "a\nlevel=error msg=forged",
    "a NUL": "a\0b",
    "a terminal's escapes": "\x1b]0;title\x07\x1b[2J",
    "text written backwards": "\u202egnp.exe",
    "a template": "{{7*7}} ${7*7} {0.__class__} %(x)s %n",
    "a shell's command": "$(reboot) `reboot`; reboot | reboot &",
    "a query's end": "'; DROP TABLE submissions; --",
    "markup": "<script>alert(1)</script>",
    "a path": "../../../../etc/passwd",
    "a very long text": LONG,
    "a lone surrogate": "a\ud800b",
}
URLS = ("bundle_url", "stdout_url", "stderr_url", "output_url", "private_output_url", "detailed_results_url")
INGESTION = ("ingestion_program_output_url", "ingestion_program_stderr_url")
IMAGES = ("docker_image", "ingestion_program_docker_image")
NUMBERS = ("execution_time_limit", "max_execution_time_limit", "previous_execution_time")
FIELDS = (*URLS, *INGESTION, *IMAGES, *NUMBERS, "submission_id", "predict", "submit_docker_command")
LIMITS: dict[str, object] = {
    "negative": -1,
    "most negative": -(10**300),
    "negative infinity, almost": -1.7e308,
    "zero": 0,
    "almost nothing, below zero": -5e-324,
}
TOO_MUCH: dict[str, object] = {
    "infinite": float("inf"),
    "no number": float("nan"),
    "beyond every clock": 10**18,
    "a hundred digits": 10**100,
    "beyond a double": 1.7e308,
}


def good(**changes: object) -> dict[str, object]:
    arguments = {"secret": SECRET, "bundle_url": "http://127.0.0.1:9/x?sig=hostile", "docker_image": "image"}
    return {"submission_id": 7, **arguments, **changes}


def refused(arena: Arena, task_id: int) -> str:
    updates = arena.here.site.updates_until_end(task_id)
    assert [(update.status, update.secret) for update in updates] == [("failed", SECRET)]
    return updates[0].traceback


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_rejected(arena: Arena, name: str) -> None:
    body, reason = BOMBS[name]
    before = len(arena.here.worker.events("message refused"))
    headers = {"compression": "application/x-gzip"} if name == "a zlib bomb" else {}
    arena.here.queue.publish(body, headers=headers)
    arena.here.worker.wait_for_event("message refused", count=before + 1)
    assert reason in arena.here.worker.events("message refused")[-1]["sentence"]


@pytest.mark.parametrize("field", FIELDS)
def test_hostile_text_in_a_field_is_refused_by_name_and_never_repeated(arena: Arena, field: str) -> None:
    sent: dict[int, str] = {}
    for text in TEXTS.values():
        task_id = next(_numbers)
        sent[task_id] = text
        arena.here.queue.publish(run_message([task_id, good(**{field: text})]))
    for task_id, text in sent.items():
        sentence = refused(arena, task_id)
        assert field in sentence or sentence.startswith("Your submission's ")
        assert len(sentence) < 500
        # What participants wrote of plain characters they may read again: the name of their image.
        assert text not in sentence or (field, text) == ("submit_docker_command", TEXTS["a path"])
        assert sentence.isprintable()


@pytest.fixture(scope="module")
def tolerated(arena: Arena) -> Mapping[str, Submission]:
    """Good runs, but for keys that nobody knows and for limits that mean: the worker's own."""
    changes: dict[str, dict[str, Any]] = {
        **{name: {f"unknown {text[:50]}": text, "more": [text, {text[:50]: text}]} for name, text in TEXTS.items()},
        **{f"{name} limit": {"execution_time_limit": value} for name, value in LIMITS.items()},
    }
    runs = {}
    for name, more in changes.items():
        submission = arena.competition.docker_submission(ANSWER, predict=True, documents={"run.txt": {"input": ""}})
        submission.task_args.update(more)
        body = run_message([submission.task_id, submission.task_args])
        arena.here.queue.publish(body)
        arena.watch(submission)
        runs[name] = submission
    return runs


@pytest.mark.parametrize("name", [*TEXTS, *(f"{name} limit" for name in LIMITS)])
def test_what_does_no_harm_is_run(arena: Arena, tolerated: Mapping[str, Submission], name: str) -> None:
    arena.here.finished(tolerated[name])


@pytest.mark.parametrize("name", TOO_MUCH)
@pytest.mark.parametrize("field", NUMBERS)
def test_a_limit_beyond_all_sense_is_refused(arena: Arena, field: str, name: str) -> None:
    task_id = next(_numbers)
    body = json.dumps(
        {"task": "compute_worker_run", "id": f"m{task_id}", "args": [task_id, good(**{field: TOO_MUCH[name]})]}
    )
    arena.here.queue.publish(body.replace('"args"', '"kwargs": {}, "args"').encode())
    assert refused(arena, task_id).startswith(f"The run message's field {field} must be ")


def test_the_log_holds_one_event_a_line_and_nothing_of_the_texts(arena: Arena) -> None:
    log = arena.here.worker.log.read_bytes().rpartition(b"\n")[0]  # the worker may be writing the last line just now
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())
    assert leaks({"log": log}, {SECRET.encode(), b"sig=hostile", LONG[:5000].encode(), b"\x1b", b"\0"}) == set()


def test_the_worker_is_none_the_worse(arena: Arena, client: docker.DockerClient) -> None:
    arena.is_none_the_worse(client)
