from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codalab
from protocol.addressee import Addressee, addressee
from protocol.celery_envelope import CeleryTask
from protocol.docker_command import DockerSubmission
from protocol.faults import Fault, MessageFault, ParticipantFault
from protocol.run import RunRequest, UploadSlot
from protocol.task_args import TaskArgs
from tests.support import captured

SECRET = "s3cr3t-0000"
SIGNATURE = "S1GNATURE"
SIGNED = f"https://store.example.org/c/run.zip?sig={SIGNATURE}"
LEAST: Mapping[str, object] = {
    "bundle_url": SIGNED,
    "secret": SECRET,
    "docker_image": "codalab/codalab-legacy:py37",
}


def task(*args: object, **changes: object) -> CeleryTask:
    return replace(CeleryTask(codalab.RUN_TASK, "message-1", args, {}, None), **changes)  # type: ignore[arg-type]


def requested(**fields: object) -> RunRequest:
    return codalab.run_request(task(7, {**LEAST, **fields}))


def refusal(**fields: object) -> MessageFault:
    with pytest.raises(MessageFault) as caught:
        requested(**fields)
    return caught.value


def assert_silent(fault: Fault) -> None:
    said = f"{fault.sentence}{fault.detail}{fault!r}{fault}"
    assert SECRET not in said
    assert SIGNATURE not in said


@pytest.mark.parametrize("name", captured.names("run-v1-*"))
def test_every_captured_v1_message_becomes_a_run_request(name: str) -> None:
    message = captured.load(name)
    request = codalab.run_request(message.decode())
    docker = "-docker-" in name
    assert request.task_id == (4243 if docker else 4242)
    assert request.message_id == message.properties["correlation_id"]
    assert request.submission_id == 77
    assert request.secret == "fake-secret-00000000-0000-4000-8000-000000000000"
    assert request.bundle_url.reveal().endswith("run.txt?X-Amz-Expires=86400&X-Amz-Signature=FAKEr")
    assert set(request.uploads) == set(UploadSlot)
    assert request.docker_image == request.ingestion_docker_image == "codalab/codalab-legacy:py37"
    expected = DockerSubmission("participant/image:1.0", ("predict",), output_target="/output")
    assert request.submission == (expected if docker else None)
    assert (request.time_limit, request.extra) == (600.0, {})
    assert request.predict == message.decode().args[1]["predict"]  # type: ignore[index]


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_dead_lettered_message_becomes_the_same_run_request(protocol: int) -> None:
    fresh = captured.load(f"run-v1-public-docker-celery4.4.6-proto{protocol}")
    dead = captured.load(f"run-dead-lettered-delivery-proto{protocol}")
    deaths = {name: value for name, value in dead.headers.items() if name.startswith("x-")}
    returned = replace(fresh, headers={**fresh.headers, **deaths})
    assert codalab.run_request(returned.decode()) == codalab.run_request(fresh.decode())


@pytest.mark.parametrize("name", captured.names("run-dead-lettered-*"))
def test_the_captured_dead_letters_lack_a_bundle_and_the_site_can_be_told(name: str) -> None:
    with pytest.raises(MessageFault, match="field bundle_url is missing") as caught:
        codalab.run_request(captured.load(name).decode())
    assert (caught.value.task_id, caught.value.secret) == (4242, "fake")


@pytest.mark.parametrize("name", captured.names("run-v2-*"))
def test_the_codabench_dialect_is_told_as_such(name: str) -> None:
    with pytest.raises(MessageFault) as caught:
        codalab.run_request(captured.load(name).decode())
    assert caught.value.sentence == codalab.CODABENCH
    assert caught.value.task_id is None


def test_the_least_that_a_message_needs() -> None:
    request = requested()
    assert (request.uploads, request.submission, request.predict, request.time_limit) == (
        {},
        None,
        False,
        None,
    )
    assert (request.submission_id, request.ingestion_docker_image) == (None, "")


@pytest.mark.parametrize(
    ("allowance", "used", "left"), [(None, 5, None), (100, None, 100), (100, 40, 60), (100, 140, 0), (0, 5, None)]
)
def test_what_is_left_of_an_allowance(allowance: float | None, used: float | None, left: float | None) -> None:
    assert requested(max_execution_time_limit=allowance, previous_execution_time=used).time_left == left


def test_unknown_keys_are_kept() -> None:
    assert requested(fork_only=9, model_config={"a": 1}).extra == {
        "fork_only": 9,
        "model_config": {"a": 1},
    }


def test_an_empty_or_null_url_is_an_absent_slot() -> None:
    uploads = requested(stdout_url="", stderr_url=None, output_url=SIGNED).uploads
    assert set(uploads) == {UploadSlot.OUTPUT}


def test_backslashes_are_no_part_of_an_image_name() -> None:
    request = requested(docker_image=r"codalab/codalab\-legacy:py37", submit_docker_command=r"team/my\-model\:1\.0")
    assert request.docker_image == "codalab/codalab-legacy:py37"
    assert request.submission == DockerSubmission("team/my-model:1.0")


@pytest.mark.parametrize("field", ["bundle_url", "secret", "docker_image"])
def test_each_missing_field_is_named(field: str) -> None:
    fields = {key: value for key, value in LEAST.items() if key != field}
    with pytest.raises(MessageFault, match=f"field {field} is missing"):
        codalab.run_request(task(7, fields))


def test_only_the_prediction_of_a_docker_submission_needs_no_docker_image() -> None:
    request = requested(docker_image="", predict=True, submit_docker_command="team/model")
    assert request.docker_image == ""
    assert refusal(docker_image="", predict=True).field == "docker_image"
    assert refusal(docker_image="", submit_docker_command="team/model").field == "docker_image"


@pytest.mark.parametrize("task_id", [None, True, -1, 2**63, 1.5, "", "a/b", "..", "x" * 129, [1]])
def test_task_ids_that_are_none(task_id: object) -> None:
    with pytest.raises(MessageFault, match="task_id must be") as caught:
        codalab.run_request(task(task_id, LEAST))
    assert caught.value.field == "task_id"


@pytest.mark.parametrize("args", [(), (1,), (1, {}, 3)])
def test_a_wrong_number_of_arguments(args: tuple[object, ...]) -> None:
    with pytest.raises(MessageFault, match=f"not {len(args)}"):
        codalab.run_request(task(*args))


@pytest.mark.parametrize("task_args", [None, [], "ab", 5])
def test_task_args_that_are_no_object(task_args: object) -> None:
    with pytest.raises(MessageFault, match="task_args must be an object"):
        codalab.run_request(task(7, task_args))


@pytest.mark.parametrize("changes", [{"name": "other"}, {"kwargs": {"a": 1}}])
def test_another_task_is_no_run_and_the_site_can_be_told(changes: dict[str, object]) -> None:
    with pytest.raises(MessageFault) as caught:
        codalab.run_request(task(7, LEAST, **changes))
    assert (caught.value.task_id, caught.value.secret) == (7, SECRET)
    assert_silent(caught.value)


def test_a_refused_docker_command_is_the_participants_and_the_site_can_be_told() -> None:
    message = task(7, {**LEAST, "submit_docker_command": "docker run --privileged a"})
    with pytest.raises(ParticipantFault, match="--privileged"):
        codalab.run_request(message)
    assert addressee(message.args) == Addressee(7, SECRET)


def test_printing_a_request_shows_no_secret() -> None:
    shown = repr(requested(stdout_url=SIGNED, other_url=SIGNED, submit_docker_command=f"docker run -e K={SECRET} a"))
    assert SECRET not in shown
    assert SIGNATURE not in shown


@pytest.mark.parametrize("document", [[7, LEAST], {"id": 7, "task_args": LEAST, "status": "running"}])
def test_a_message_file_in_both_forms(document: object) -> None:
    found = codalab.parse_message_file("\ufeff" + json.dumps(document), message_id="m")
    assert (found.task_id, found.task_args) == (7, LEAST)
    assert found.request == codalab.run_request(task(7, LEAST, id="m"))
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{}", "must be [task_id, task_args] or"),
        ('{"id": 7}', "must be [task_id, task_args] or"),
        ("5", "must be [task_id, task_args] or"),
        ("[]", "not 0"),
        ("[7, {}]", "field secret is missing"),
        ('[{"secret": "a"}]', "codabench"),
        ("\ud800", "not UTF-8"),
    ],
)
def test_message_files_that_are_none(text: str, words: str) -> None:
    with pytest.raises(MessageFault) as caught:
        codalab.parse_message_file(text, message_id="m")
    assert words in caught.value.sentence


def test_the_schema_describes_every_field_and_what_is_needed() -> None:
    schema = codalab.json_schema()
    fields = schema["$defs"]["TaskArgs"]  # type: ignore[index]
    assert fields["required"] == ["secret", "bundle_url"]
    assert {slot.value for slot in UploadSlot} < fields["properties"].keys()
    assert all(field["description"] for field in fields["properties"].values())
    assert json.loads(json.dumps(schema)) == schema


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([SIGNED, SECRET, f"{SIGNED}\n", f"{SECRET}/{SECRET}", f"docker run -e A={SECRET} --x={SECRET}"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(TaskArgs.model_fields, values))


@given(fields, values)
def test_no_task_args_raise_anything_but_a_fault_and_none_tells_secrets(
    changes: dict[str, object], task_id: object
) -> None:
    try:
        request = codalab.run_request(task(task_id, {**LEAST, **changes}))
    except Fault as fault:
        assert_silent(fault)
    else:
        shown = repr(replace(request, task_id=0, submission_id=0))
        assert SIGNATURE not in shown


@given(st.lists(values, max_size=3))
def test_no_arguments_raise_anything_but_a_fault(args: list[object]) -> None:
    try:
        codalab.run_request(task(*args))
    except MessageFault as fault:
        assert_silent(fault)


@given(st.text(max_size=40) | values.map(json.dumps))
def test_no_file_raises_anything_but_a_fault(text: str) -> None:
    try:
        codalab.parse_message_file(text, message_id="m")
    except Fault as fault:
        assert_silent(fault)
