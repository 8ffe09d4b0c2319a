"""Messages that are no runs, or ask for what no run may have. Their queue has a dead-letter exchange."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import docker
import pytest

from tests.acceptance.conftest import Runner
from tests.support.competition import Competition
from tests.support.rabbit import Management, Owner
from tests.support.run_queue import RunQueue, run_message
from tests.support.site import Site
from tests.support.station import Station, station

pytestmark = pytest.mark.acceptance

SECRET = "a-secret-of-a-submission"
GOOD = {
    "submission_id": 7,
    "secret": SECRET,
    "bundle_url": "http://127.0.0.1:9/bundle?sig=signature",
    "docker_image": "image",
    "execution_time_limit": 20,
}
_numbers = itertools.count(500_000)


@pytest.fixture(scope="module")
def here(
    management: Management,
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Station]:
    queue = RunQueue(owner, f"bad-{uuid4().hex[:8]}")
    queue.give_dead_letter_exchange(management)
    with station(site, owner, settings, tmp_path_factory.mktemp("messages"), queue=queue) as here:
        yield here


def is_rejected(here: Station, body: bytes) -> None:
    """Dead-lettered as it was, and kept below the temp dir."""
    here.queue.await_dead(body)
    assert body in here.rejected()
    assert here.queue.count() == 0


def sentence_of(here: Station, task_id: int) -> str:
    """What the site is told of a message that was refused at once."""
    updates = here.site.updates_until_end(task_id)
    assert [(update.status, update.secret) for update in updates] == [("failed", SECRET)]
    assert "signature" not in updates[0].traceback
    assert SECRET not in updates[0].traceback
    return updates[0].traceback


def changed(**changes: object) -> dict[str, object]:
    """Good arguments with these changes; a key that is given as `...` is left out."""
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}


PAIR = [1, GOOD]
PROTOCOL_2 = {"task": "compute_worker_run", "id": "an-id", "lang": "py"}
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
NOBODYS: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "not JSON": (b'{"task": "compute_worker_run", ', {}, "The run message is not JSON (line 1, column 32)."),
    "not UTF-8": (b'{"task": "\xff"}', {}, "The run message is not UTF-8 (byte 10)."),
    "nothing": (b"", {}, "The run message is not JSON (line 1, column 1)."),
    "a number": (b"42", {}, "The run message must be a JSON object"),
    "an empty object": (b"{}", {}, "The run message names no task."),
    "nested too deep": (run_message([1, {"a": json.loads("[" * 90 + "]" * 90)}]), {}, "nests deeper than 32 levels"),
    "nested deeper than Python reads": (b"[" * 200_000, {}, "nests deeper than 32 levels"),
    "too large": (run_message([1, {"a": "x" * (1 << 20)}]), {}, "The run message is larger than 1048576 bytes."),
    "text": (run_message(PAIR), {"content_type": "text/plain"}, "content_type must be application/json."),
    "pickle": (b"cos\nsystem\n", {"content_type": "application/x-python-serialize"}, "content_type must be"),
    "no content type": (run_message(PAIR), {"content_type": None}, "content_type must be application/json."),
    "latin": (run_message(PAIR), {"content_encoding": "latin-1"}, "content_encoding must be utf-8."),
    "no zlib": (run_message(PAIR), {"headers": {"compression": "application/x-gzip"}}, "is not the zlib data"),
    "args missing": (b'{"task": "compute_worker_run", "id": "x"}', {}, "The run message's args must be a list."),
    "args null": (run_message(None), {}, "The run message's args must be a list."),
    "args a text": (run_message("ab"), {}, "The run message's args must be a list."),
    "no arguments": (run_message([]), {}, "must have the arguments [task_id, task_args], not 0."),
    "codabench": (run_message([{"id": 1, **GOOD}]), {}, "is in the codabench dialect (one positional object)"),
    "task_args a text": (run_message([1, "x"]), {}, "The run message's task_args must be an object."),
    "no secret": (run_message([1, changed(secret=...)]), {}, "The run message's field secret is missing."),
    "empty secret": (run_message([1, changed(secret="")]), {}, "The run message's field secret is empty."),
    "secret a number": (run_message([1, changed(secret=5)]), {}, "The run message's field secret must be a text."),
    "task id a path": (run_message(["../../x", GOOD]), {}, "The run message's task_id must be a whole number"),
    "task id negative": (run_message([-1, GOOD]), {}, "The run message's task_id must be a whole number"),
    "task id a list": (run_message([[1], GOOD]), {}, "The run message's task_id must be a whole number"),
    "protocol 2 without an id": (
        json.dumps([[1, {}], {}, EMBED]).encode(),
        {"headers": {"task": "compute_worker_run"}},
        "The run message's id is missing",
    ),
    "protocol 2 of an object": (b"{}", {"headers": PROTOCOL_2}, "must be [args, kwargs, embed]"),
}


@pytest.mark.parametrize(("body", "properties", "reason"), NOBODYS.values(), ids=list(NOBODYS))
def test_a_message_that_names_nobody_to_tell_is_rejected_and_kept(
    here: Station, body: bytes, properties: dict[str, Any], reason: str
) -> None:
    here.queue.publish(body, **properties)
    is_rejected(here, body)
    assert reason in here.worker.events("message refused")[-1]["sentence"]


URL = "must be an http or https URL."
NUMBER = "must be a number of seconds."
CONTROL = "must not hold control characters."
ID = "must be a whole number from 0, or up to 128 letters, digits and . _ : -."
IMAGE = "must be an image reference, such as registry.example.org/team/image:tag."
FIELDS: list[tuple[str, object, str]] = [
    ("bundle_url", ..., "is missing."),
    ("bundle_url", None, "is empty."),
    ("bundle_url", "", "is empty."),
    ("bundle_url", ["http://store/x"], "must be a text."),
    ("bundle_url", "file:///etc/passwd?signature", URL),
    ("bundle_url", "http://[signature", URL),
    ("bundle_url", "http://store/\r\nHost: signature", CONTROL),
    ("bundle_url", "http://store/" + "x" * 8192, "is longer than 8192 characters."),
    ("docker_image", ..., "is missing."),
    ("docker_image", 5, "must be a text."),
    ("docker_image", "image; rm -rf /", IMAGE),
    ("docker_image", "--privileged", IMAGE),
    ("docker_image", "$(signature)", IMAGE),
    ("docker_image", "../../etc", IMAGE),
    ("ingestion_program_docker_image", "a b", IMAGE),
    ("submission_id", {"a": 1}, ID),
    ("submission_id", "../../etc", ID),
    ("submit_docker_command", 5, "must be a text."),
    ("predict", "perhaps", "must be true or false."),
    ("predict", 7, "must be true or false."),
    ("execution_time_limit", "20", NUMBER),
    ("execution_time_limit", True, NUMBER),
    ("execution_time_limit", 10**12, "must be at most 2147483647 seconds."),
    ("execution_time_limit", float("nan"), "must be a finite number of seconds."),
    ("stdout_url", "ftp://store/signature", URL),
    ("stderr_url", 1, "must be a text."),
    ("output_url", "/tmp/signature", URL),
    ("private_output_url", "http://", URL),
    ("detailed_results_url", "javascript:alert(1)", URL),
    ("ingestion_program_output_url", "http:///signature", URL),
    ("ingestion_program_stderr_url", "http://user@:80/signature", URL),
]


@pytest.mark.parametrize(("field", "value", "reason"), FIELDS)
def test_the_site_is_told_which_field_is_wrong(here: Station, field: str, value: object, reason: str) -> None:
    task_id = next(_numbers)
    body = run_message([task_id, changed(**{field: value})])
    here.queue.publish(body)
    assert sentence_of(here, task_id) == f"The run message's field {field} {reason}"
    is_rejected(here, body)


CALLS: dict[str, tuple[dict[str, object], str]] = {
    "unknown task": ({"task": "rm_rf"}, "The run message calls another task than compute_worker_run."),
    "no task": ({"task": None}, "The run message names no task."),
    "keyword arguments": ({"kwargs": {"a": 1}}, "The task compute_worker_run has no keyword arguments."),
    "kwargs a list": ({"kwargs": []}, "The run message's kwargs must be an object."),
    "no id": ({"id": None}, "The run message's id is missing or no valid task id."),
    "id a path": ({"id": "../../x"}, "The run message's id is missing or no valid task id."),
    "expires no time": ({"expires": "soon"}, "The run message's expires must be an ISO 8601 time."),
}


@pytest.mark.parametrize(("changes", "sentence"), CALLS.values(), ids=list(CALLS))
def test_the_site_is_told_what_is_wrong_with_a_call(here: Station, changes: dict[str, object], sentence: str) -> None:
    task_id = next(_numbers)
    body = run_message([task_id, GOOD], **changes)
    here.queue.publish(body)
    assert sentence_of(here, task_id) == sentence
    is_rejected(here, body)


def test_three_arguments_are_one_too_many(here: Station) -> None:
    task_id = next(_numbers)
    body = run_message([task_id, GOOD, "more"])
    here.queue.publish(body)
    sentence = "The run message must have the arguments [task_id, task_args], not 3."
    assert sentence_of(here, task_id) == sentence
    is_rejected(here, body)


def test_the_site_is_told_of_protocol_2_with_too_few_parts(here: Station) -> None:
    task_id = next(_numbers)
    body = json.dumps([[task_id, GOOD], {}]).encode()
    here.queue.publish(body, headers=PROTOCOL_2)
    assert sentence_of(here, task_id) == "The run message must be [args, kwargs, embed] (Celery task protocol 2)."
    is_rejected(here, body)


def test_a_bad_message_is_settled_though_it_cannot_be_kept(here: Station) -> None:
    """Such as after somebody tidied up the temp dir, or filled its disk."""
    for path in here.rejected_folder.iterdir():
        path.unlink()
    here.rejected_folder.rmdir()
    here.queue.publish(b"not JSON, and nowhere to keep it")
    here.queue.await_dead(b"not JSON, and nowhere to keep it")
    here.rejected_folder.mkdir()


OPTION = "Your submission's docker command uses the option {}, {}."
NOT_HERE = "which is not allowed on this platform"
COMMANDS: dict[str, str] = {
    "docker run --privileged image": OPTION.format("--privileged", NOT_HERE),
    "docker run --rm --net=host image": OPTION.format("--net", NOT_HERE),
    "docker run --cap-add SYS_ADMIN image": OPTION.format("--cap-add", NOT_HERE),
    "docker run --pid=host image": OPTION.format("--pid", NOT_HERE),
    "docker run -itP image": OPTION.format("-P", NOT_HERE),
    "docker run --device /dev/sda image": OPTION.format("--device", NOT_HERE),
    "docker run --gpus all image": OPTION.format("--gpus", NOT_HERE),
    "docker run &#45;&#45;privileged image": OPTION.format("--privileged", NOT_HERE),
    "docker run -v {}:/proc image": OPTION.format("-v", "which cannot use /, /proc, /sys or /dev"),
    "docker run -v {}:/a/../../b image": OPTION.format("-v", "which needs absolute paths without .."),
    "docker run -e SECRET image": OPTION.format("-e", "which needs the form KEY=VALUE"),
    "docker run -v /var/run/docker.sock:/s image": (
        "Your submission's docker command asks for the host folder /var/run/docker.sock, which this platform does not"
        " offer; leave that -v out: the input data are at /mnt/in."
    ),
    "docker run 'image": ("Your submission's docker command has a quotation mark or backslash without its other half."),
    "docker run": "Your submission's docker command names no image.",
    "image; rm -rf /": ("Your submission's docker command must be an image name alone, or begin with docker run."),
    "$(reboot)": "Your submission's image is no image reference: its name is not valid.",
    "image\x00name": "Your submission's docker command holds control characters.",
}


@pytest.mark.parametrize(("command", "sentence"), COMMANDS.items(), ids=list(COMMANDS))
def test_a_docker_command_that_is_refused_is_the_participants_fault(here: Station, command: str, sentence: str) -> None:
    task_id, kept = next(_numbers), here.rejected()
    here.queue.publish(run_message([task_id, changed(submit_docker_command=command)]))
    assert sentence_of(here, task_id) == sentence
    # It was a run: acknowledged, so that nothing of it is kept or (see the end) becomes a dead letter.
    assert here.rejected() == kept


def test_without_a_dead_letter_exchange_a_bad_message_is_kept_and_gone(
    run: Runner, owner: Owner, competition: Competition
) -> None:
    queue = RunQueue(owner, "compute-worker")
    queue.publish(b"not JSON, and nowhere to go")
    updates = run(competition.docker_submission())  # the next in a queue that is worked one by one
    assert [update.status for update in updates] == ["running", "finished"]
    assert queue.count() == 0
    kept = [path.read_bytes() for path in (run.worker.temp_dir / "rejected").iterdir()]
    assert kept == [b"not JSON, and nowhere to go"]


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
    assert here.queue.count_dead() == 0  # of those that were awaited nothing is left, and others there were none
