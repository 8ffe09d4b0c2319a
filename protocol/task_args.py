"""`task_args` of a CodaLab run message: every field, its meaning and its bounds.

The fields are those of codalab-competitions and its forks (protocol-facts.md 1.5); keys that are not
here are let through. A validator says what a field must be; `protocol.codalab` makes the sentence of it.
"""

from __future__ import annotations

import math
from typing import Annotated, Never
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from protocol import docker_command, image_reference
from protocol.addressee import MAX_SECRET, TASK_ID_RULE, TASK_ID_SCHEMA, is_task_id
from protocol.plain_text import has_control

MAX_URL = 8192
MAX_SECONDS = 2**31 - 1
"""The most that the site's own database holds for a time limit."""

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}


def _refuse(reason: str) -> Never:
    """`reason` goes on from "The run message's field X "; it must not hold braces or the value."""
    raise PydanticCustomError("codalab", reason)


def _text(value: object) -> str:
    """A text without control characters; null is the same as empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        _refuse("must be a text")
    text = value.strip()
    if has_control(text):
        _refuse("must not hold control characters")
    return text


def _command(value: object) -> str | None:
    """Any text: the docker command's own grammar judges it."""
    return value if value is None or isinstance(value, str) else _refuse("must be a text")


def _url(text: str) -> str:
    """Empty, or http(s) with a host."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if text and (not good or "\\" in parts.netloc):
        _refuse("must be an http or https URL")
    return text


def _image(text: str) -> str:
    """Backslashes are no part of a name: the site escapes names as if for a regular expression."""
    image = text.replace("\\", "")
    if image and not image_reference.is_valid(image):
        _refuse("must be an image reference, such as registry.example.org/team/image:tag")
    return image


def _task_id(value: object) -> object:
    if not is_task_id(value):
        _refuse(TASK_ID_RULE)
    return value


def _submission_id(value: object) -> object:
    return None if value is None else _task_id(value)


def _boolean(value: object) -> bool:
    """As the site sends them, or as Python, a form or a database would write them; null is false."""
    match value:
        case None | bool():
            return bool(value)
        case int() if value in {0, 1}:
            return bool(value)
        case str() if (written := value.strip().casefold()) in _BOOLEANS:
            return _BOOLEANS[written]
        case _:
            _refuse("must be true or false")


def _seconds(value: object) -> float | None:
    """A number; what is not positive means that there is no limit of the message's own."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse("must be a number of seconds")
    if isinstance(value, float) and not math.isfinite(value):
        _refuse("must be a finite number of seconds")
    if value > MAX_SECONDS:
        _refuse(f"must be at most {MAX_SECONDS} seconds")
    return float(value) if value > 0 else None


def _nullable(kind: str, **rules: object) -> WithJsonSchema:
    """What the schema says of a field that may be null; validators read more than it asks for."""
    return WithJsonSchema({"type": [kind, "null"], **rules})


TaskId = Annotated[
    int | str,
    BeforeValidator(_task_id),
    WithJsonSchema({"anyOf": list(TASK_ID_SCHEMA)}),
    Field(description="The site's job id."),
]
_Id = Annotated[
    int | str | None,
    BeforeValidator(_submission_id),
    WithJsonSchema({"anyOf": [*TASK_ID_SCHEMA, {"type": "null"}]}),
]
_Image = Annotated[
    str,
    Field(max_length=image_reference.MAX_LENGTH),
    AfterValidator(_image),
    BeforeValidator(_text),
    _nullable("string", maxLength=image_reference.MAX_LENGTH),
]
_SignedUrl = Annotated[str, Field(max_length=MAX_URL), AfterValidator(_url), BeforeValidator(_text)]
_Url = Annotated[_SignedUrl, _nullable("string", maxLength=MAX_URL, pattern="^(https?://.+)?$")]
_Bundle = Annotated[
    _SignedUrl,
    Field(min_length=1),
    WithJsonSchema({"type": "string", "maxLength": MAX_URL, "pattern": "^https?://.+$"}),
]
_Secret = Annotated[str, Field(min_length=1, max_length=MAX_SECRET), BeforeValidator(_text)]
_Command = Annotated[
    str | None,
    Field(max_length=docker_command.MAX_LENGTH),
    BeforeValidator(_command),
    _nullable("string", maxLength=docker_command.MAX_LENGTH),
]
_Seconds = Annotated[float | None, BeforeValidator(_seconds), _nullable("number", maximum=MAX_SECONDS)]
_Boolean = Annotated[bool, BeforeValidator(_boolean), _nullable("boolean")]


class TaskArgs(BaseModel):
    """What one run needs. URLs are signed, http or https; an empty one means that there is no such place."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,
        # What `protocol.codalab` checks across fields: only a docker submission's prediction needs no docker_image.
        json_schema_extra={
            "anyOf": [
                {"required": ["docker_image"]},
                {"required": ["submit_docker_command", "predict"], "properties": {"predict": {"const": True}}},
            ]
        },
    )

    submission_id: _Id = Field(default=None, description="The site's id of the submission, for the operator.")
    secret: _Secret = Field(
        repr=False, description="Sent back with each update; the site believes no update without it."
    )
    bundle_url: _Bundle = Field(
        repr=False,
        description="GET: the run's bundle, a zip or a YAML document of `name: URL` naming other bundles.",
    )
    docker_image: _Image = Field(
        default="",
        description="Image of the organiser's program; only a docker submission's prediction needs none.",
    )
    ingestion_program_docker_image: _Image = Field(
        default="", description="Image of the organiser's ingestion program."
    )
    submit_docker_command: _Command = Field(
        default=None,
        repr=False,
        description=(
            "The participant's docker submission: an image reference, or `docker run [OPTION ...] IMAGE "
            "[ARG ...]` with {} where the output folder goes. Absent, null, empty, `None` or "
            "`this is not a docker submission`: none. It may be HTML-escaped."
        ),
    )
    predict: _Boolean = Field(
        default=False,
        description="true: a prediction run, whose output is predictions; false: a scoring run.",
    )
    execution_time_limit: _Seconds = Field(
        default=None,
        description="Seconds for each container. Absent, null, zero or negative: the worker's own default.",
    )
    max_execution_time_limit: _Seconds = Field(
        default=None,
        description="Seconds that the participant may use in all, over several runs. Some sites send it.",
    )
    previous_execution_time: _Seconds = Field(
        default=None, description="Seconds of those that earlier runs have used. Some sites send it."
    )
    stdout_url: _Url = Field(default="", repr=False, description="PUT: standard output.")
    stderr_url: _Url = Field(default="", repr=False, description="PUT: standard error.")
    output_url: _Url = Field(
        default="", repr=False, description="PUT: a zip of the output folder and of a `metadata` file."
    )
    private_output_url: _Url = Field(
        default="", repr=False, description="PUT: a zip of the output, with its folder `private`."
    )
    detailed_results_url: _Url = Field(
        default="", repr=False, description="PUT: the HTML page of detailed results, also while it changes."
    )
    ingestion_program_output_url: _Url = Field(
        default="", repr=False, description="PUT: standard output of the ingestion program."
    )
    ingestion_program_stderr_url: _Url = Field(
        default="", repr=False, description="PUT: standard error of the ingestion program."
    )
