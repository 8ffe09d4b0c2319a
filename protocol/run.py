"""One run, as every part of the worker sees it, whichever dialect the message came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from protocol.docker_command import DockerSubmission
from protocol.urls import SignedUrl


class Role(StrEnum):
    """Whose program a container runs; it decides the sandbox and who is blamed."""

    PARTICIPANT = "participant"
    INGESTION = "ingestion"
    SCORING = "scoring"


class UploadSlot(StrEnum):
    """The places that a site signs for a run's results; values are the message's own key names."""

    STDOUT = "stdout_url"
    STDERR = "stderr_url"
    OUTPUT = "output_url"
    PRIVATE_OUTPUT = "private_output_url"
    DETAILED_RESULTS = "detailed_results_url"
    INGESTION_STDOUT = "ingestion_program_output_url"
    INGESTION_STDERR = "ingestion_program_stderr_url"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one run message asks for. Immutable: later stages wrap it and never change it.

    `task_id` is the site's job id (the first argument of the Celery task, sent back with each
    update); `message_id` is Celery's own id of the message. `time_limit` is in seconds, None
    where the message has none or one that is not positive; `time_left` what is left, in seconds, of an
    allowance over several runs, None where the site counts none. `submission` is None where the
    message holds no docker submission. `uploads` has only the slots that hold a URL.
    `extra` keeps the keys that this worker does not know.
    """

    task_id: int | str
    message_id: str
    submission_id: int | str | None
    secret: str = field(repr=False)
    bundle_url: SignedUrl
    uploads: Mapping[UploadSlot, SignedUrl]
    docker_image: str
    ingestion_docker_image: str
    submission: DockerSubmission | None
    predict: bool
    time_limit: float | None
    time_left: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict, repr=False)
