"""CodaLab's run message (codalab-competitions and its forks) as one frozen `RunRequest`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from protocol import docker_command, json_text
from protocol.addressee import TASK_ID_RULE, addressed, is_task_id
from protocol.celery_envelope import CeleryTask
from protocol.faults import MessageFault
from protocol.run import RunRequest, UploadSlot
from protocol.task_args import TaskArgs, TaskId
from protocol.urls import SignedUrl

RUN_TASK = "compute_worker_run"
"""The Celery task that a site calls to have a run done (protocol-facts.md 1)."""

CODABENCH = (
    "The run message is in the codabench dialect (one positional object), which this worker does not speak: "
    "it serves CodaLab sites, which send [task_id, task_args]."
)

_FORM = 'The run message must be [task_id, task_args] or {"id": task_id, "task_args": {...}}.'
_PAIR = 2


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A run message out of a file: as it was written, to be published, and as it is understood."""

    task_id: int | str
    task_args: Mapping[str, object] = field(repr=False)
    request: RunRequest


def run_request(task: CeleryTask) -> RunRequest:
    """What the message asks for.

    Raises `MessageFault` that names the field and, where they can be read, the site's task id and secret;
    `ParticipantFault` where it is the participant's docker command that is refused: whom to tell of that,
    `protocol.addressee.addressee(task.args)` says.
    """
    with addressed(task.args):
        if task.name != RUN_TASK:
            raise MessageFault(f"The run message calls another task than {RUN_TASK}.", field="task")
        if task.kwargs:
            raise MessageFault(f"The task {RUN_TASK} has no keyword arguments.", field="kwargs")
        task_id, task_args = _arguments(task.args)
        return _request(task_id, task.id, task_args)


def parse_message_file(text: str, *, message_id: str) -> MessageFile:
    """A MESSAGE.json: `[task_id, task_args]`, or `{"id": …, "task_args": {…}}` as the site itself holds it.

    `message_id` is the Celery id that it is to run or be published under. Raises as `run_request` does.
    """
    document = json_text.parse(text.removeprefix("\ufeff").encode("utf-8", "surrogatepass"))
    if isinstance(document, dict) and document.keys() >= {"id", "task_args"}:
        document = [document["id"], document["task_args"]]
    if not isinstance(document, list):
        raise MessageFault(_FORM)
    request = run_request(CeleryTask(RUN_TASK, message_id, tuple(document), {}, None))
    return MessageFile(request.task_id, document[1], request)


def json_schema() -> dict[str, object]:
    """JSON Schema (2020-12) of a MESSAGE.json."""
    schema: dict[str, object] = TypeAdapter(tuple[TaskId, TaskArgs] | SiteForm).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "CodaLab run message",
        "description": f"Arguments of the Celery task {RUN_TASK}, as a pair or as the site holds them.",
        **schema,
    }


class SiteForm(BaseModel):
    """The message as the site itself holds it."""

    model_config = ConfigDict(extra="allow")

    id: TaskId
    task_args: TaskArgs = Field(description="What the run needs.")


def _arguments(args: Sequence[object]) -> tuple[int | str, Mapping[str, object]]:
    if len(args) == 1 and isinstance(args[0], dict):
        raise MessageFault(CODABENCH, field="args")
    if len(args) != _PAIR:
        raise MessageFault(f"The run message must have the arguments [task_id, task_args], not {len(args)}.")
    task_id, task_args = args
    if not is_task_id(task_id):
        raise MessageFault(
            f"The run message's task_id {TASK_ID_RULE}.",
            field="task_id",
        )
    if not isinstance(task_args, dict):
        raise MessageFault("The run message's task_args must be an object.", field="task_args")
    return task_id, task_args


def _request(task_id: int | str, message_id: str, task_args: Mapping[str, object]) -> RunRequest:
    fields = _validated({key: value for key, value in task_args.items() if key in TaskArgs.model_fields})
    submission = docker_command.parse(fields.submit_docker_command)
    if not fields.docker_image and not (fields.predict and submission):
        raise MessageFault("The run message's field docker_image is missing.", field="docker_image")
    slots = {slot: getattr(fields, slot.value) for slot in UploadSlot}
    return RunRequest(
        task_id=task_id,
        message_id=message_id,
        submission_id=fields.submission_id,
        secret=fields.secret,
        bundle_url=SignedUrl(fields.bundle_url),
        uploads={slot: SignedUrl(url) for slot, url in slots.items() if url},
        docker_image=fields.docker_image,
        ingestion_docker_image=fields.ingestion_program_docker_image,
        submission=submission,
        predict=fields.predict,
        time_limit=fields.execution_time_limit,
        time_left=_time_left(fields),
        extra={key: value for key, value in task_args.items() if key not in TaskArgs.model_fields},
    )


def _time_left(fields: TaskArgs) -> float | None:
    if fields.max_execution_time_limit is None:
        return None
    return max(0.0, fields.max_execution_time_limit - (fields.previous_execution_time or 0.0))


def _validated(known: Mapping[str, object]) -> TaskArgs:
    try:
        return TaskArgs.model_validate(known)
    except ValidationError as error:
        # Neither the error itself nor its input may travel on: both hold the URLs and the secret.
        first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0])
    raise MessageFault(f"The run message's field {name} {_reason(first)}.", field=name)


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "string_too_short" | "too_short":
            return "is empty"
        case "string_too_long":
            return f"is longer than {error['ctx']['max_length']} characters"
        case "codalab":
            return error["msg"]
        case _:
            return "is not valid"
