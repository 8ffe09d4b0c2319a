"""The containers of a run: what each is given, and how it is run to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict
from uuid import uuid4

import structlog

from protocol.docker_command import INPUT_TARGET, DockerSubmission
from protocol.faults import Fault, LastingFault, PassingFault
from protocol.run import Role
from sandbox import labels
from sandbox.engine import ContainerSpec, Mount
from sandbox.errors import (
    ContainerLost,
    EngineRefused,
    EngineUnreachable,
    GpuUnavailable,
    ImageError,
    ImageNotFound,
    SandboxError,
)
from sandbox.outcome import Outcome
from sandbox.removal import Removals
from sandbox.slots import Share
from worker.kept.disk import check_room
from worker.kept.journal import RunJournal
from worker.kept.records import StagedRun
from worker.observers import Stage
from worker.run_control import RunControl
from worker.stages.admission import time_limit
from worker.stages.bounding import organisers_bounds, participants_bounds
from worker.stages.program import HIDDEN_DIR, RUN_DIR, SHARED_DIR
from worker.stages.pulling import bring_back
from worker.storage.patience import UPLOAD_PATIENCE
from worker.tools import Peers, Tools

_FALLBACK_USER = "1000:1000"
_NO_GPU = "The platform's worker should give this run a GPU, but its engine has none; its operator must mend that."

_log = structlog.get_logger(__name__)


class _Command(TypedDict):
    command: tuple[str, ...]
    entrypoint: tuple[str, ...]
    working_dir: str
    environment: Mapping[str, str]


OnStage = Callable[[Stage], None]
"""Called with the stage that the run has come to."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the containers of one run share: tools, journal, GPUs and CPUs, who may stop them and who removes them."""

    tools: Tools
    control: RunControl
    journal: RunJournal
    share: Share = field(default_factory=Share)
    peers: Peers | None = None
    removals: Removals | None = None
    """Where containers are removed beside what comes next; None has each waited for."""
    upload_patience: float = UPLOAD_PATIENCE
    """Seconds that a store which takes nothing is waited for."""
    on_stage: OnStage = lambda _stage: None


def docker_submission_spec(staged: StagedRun, submission: DockerSubmission, context: RunContext) -> ContainerSpec:
    """The docker submission: the image's own program, input read-only, one folder to write to."""
    request, folder = staged.request, staged.folder
    fallback = folder.run / "input" if request.predict else folder.empty_input
    source = context.tools.settings.worker_participant_input_dir or fallback
    targets = {INPUT_TARGET, *(submission.input_folder_asked or ())[1:]}
    mounts = [Mount(source, target, read_only=True) for target in sorted(targets)]
    output = folder.output if request.predict else folder.results
    image = staged.programs.docker_submission
    return replace(
        _participant_spec(staged, context, (*mounts, Mount(output, submission.output_target, read_only=False))),
        image=image.id if image else submission.image,
        command=submission.arguments,
        entrypoint=submission.entrypoint,
        working_dir=submission.working_dir,
        environment=submission.environment,
    )


def code_submission_specs(staged: StagedRun, context: RunContext) -> Iterator[ContainerSpec]:
    """A participant's code in an organiser's image: code and input read-only; never what is hidden."""
    folder, program = staged.folder, staged.programs.code_submission
    if program is None:
        return
    mounts = (
        Mount(folder.run / "program", f"{RUN_DIR}/program", read_only=True),
        Mount(folder.run / "input", f"{RUN_DIR}/input", read_only=True),
        Mount(folder.output, f"{RUN_DIR}/output", read_only=False),
        Mount(folder.temp, f"{RUN_DIR}/temp", read_only=False),
        Mount(folder.shared, SHARED_DIR, read_only=False),
    )
    for words in program.commands:
        spec = _participant_spec(staged, context, mounts)
        yield replace(spec, image=program.image.id, **_in_run_dir(words))


def organiser_specs(staged: StagedRun, role: Role, context: RunContext) -> Iterator[ContainerSpec]:
    """The commands of an organiser's program, which sees the whole run, and hidden data if it is ingestion."""
    folder = staged.folder
    program = staged.programs.ingestion if role is Role.INGESTION else staged.programs.scoring
    if program is None:
        return
    mounts = [Mount(folder.run, RUN_DIR, read_only=False), Mount(folder.shared, SHARED_DIR, read_only=False)]
    if role is Role.INGESTION and folder.hidden_ref.is_dir():
        mounts.append(Mount(folder.hidden_ref, HIDDEN_DIR, read_only=True))
    for words in program.commands:
        yield ContainerSpec(
            name=_name(staged, role),
            image=program.image.id,
            profile=context.tools.profiles.of(role, context.share),
            mounts=tuple(mounts),
            labels=_labels(staged, role, context),
            bounds=organisers_bounds(staged, context.tools.settings),
            **_in_run_dir(words),
        )


def _participant_spec(staged: StagedRun, context: RunContext, mounts: tuple[Mount, ...]) -> ContainerSpec:
    """What every container of a participant has; its image is still to be named."""
    return ContainerSpec(
        name=_name(staged, Role.PARTICIPANT),
        image="",
        profile=context.tools.profiles.of(Role.PARTICIPANT, context.share),
        user=context.tools.settings.worker_participant_user,
        fallback_user=_FALLBACK_USER,
        mounts=mounts,
        labels=_labels(staged, Role.PARTICIPANT, context),
        bounds=participants_bounds(staged, context.tools.settings),
    )


def _in_run_dir(words: tuple[str, ...]) -> _Command:
    """A command of a program's metadata. Output is unbuffered, as today's workers have it: logs are seen at once."""
    return {
        "command": words,
        "entrypoint": (),
        "working_dir": RUN_DIR,
        "environment": {"PYTHONUNBUFFERED": "1"},
    }


def run(spec: ContainerSpec, role: Role, index: int, staged: StagedRun, context: RunContext) -> Outcome:
    """Runs the `index`th container of that role to its end, its logs into the run's folder.

    One that an earlier process of this worker began is gone on with. Raises the platform's faults; how the
    program ended is the value.
    """
    step = context.journal.record.step(role, index)
    if step and step.outcome:
        return step.outcome
    spec = replace(spec, labels={**spec.labels, labels.INDEX: str(index)})
    try:
        found = _begun_earlier(spec, context, known=step is not None) if context.journal.resumed else None
        outcome = _run_if_its_image_is_there(spec, found, (role, index), staged, context)
    except SandboxError as error:
        raise _fault(error) from error
    _log.info(
        "container ended",
        role=role.value,
        reason=outcome.reason.value,
        exit_code=outcome.exit_code,
        elapsed=round(outcome.elapsed, 3),
    )
    return outcome


def _run_if_its_image_is_there(
    spec: ContainerSpec, found: str | None, step: tuple[Role, int], staged: StagedRun, context: RunContext
) -> Outcome:
    """One more pull where it is not: others may remove images of the engine, and staging may be hours ago."""
    try:
        return _run(spec, found, step, staged, context)
    except ImageNotFound:
        image = next((one for one in staged.programs.images if one.id == spec.image), None)
        if not image:
            raise
        bring_back(staged.request, image, context.tools, context.control.cancellation)
    return _run(spec, found, step, staged, context)


def _run(
    spec: ContainerSpec, found: str | None, step: tuple[Role, int], staged: StagedRun, context: RunContext
) -> Outcome:
    tools, journal = context.tools, context.journal
    with tools.sandbox.container(spec, found=found, removals=context.removals) as container:
        with context.control.watching(container):
            if context.peers:
                context.peers.join(container)
            if not found:
                journal.begun(*step)
            logs = staged.folder.open_logs(*step, tools.settings.worker_log_limit, new=not found)
            outcome = container.run(
                time_limit=time_limit(staged.request, tools), grace=tools.settings.worker_stop_grace, logs=logs
            )
        check_room(staged.folder.root)
        journal.ended(*step, outcome)  # while it is still there: a crash before this line finds it
    return outcome


def _begun_earlier(spec: ContainerSpec, context: RunContext, *, known: bool) -> str | None:
    """The container that an earlier process has started for this step, if it has; one not started is removed."""
    engine = context.tools.sandbox.engine
    for container in engine.find_containers(spec.labels):
        if engine.inspect(container).started_at is not None:
            _log.info("container adopted", role=spec.labels[labels.ROLE], container=container[:12])
            return container
        engine.remove(container)
        return None
    if known:
        raise ContainerLost("The container that the journal tells of is gone.")
    return None


def _fault(error: SandboxError) -> Fault:
    match error:
        case EngineUnreachable():
            return PassingFault("The platform's container engine does not answer.", detail=str(error))
        case ContainerLost():
            return PassingFault("The platform's container engine lost what it ran.", detail=str(error))
        case GpuUnavailable():
            return LastingFault(_NO_GPU, detail=str(error))
        case ImageError():
            return PassingFault("The platform's container engine lost an image of this run.", detail=str(error))
        case EngineRefused():
            return LastingFault("The platform's container engine refused to run this.", detail=str(error))
    raise error


def _name(staged: StagedRun, role: Role) -> str:
    return f"{staged.folder.root.name}-{role}-{uuid4().hex[:8]}"


def _labels(staged: StagedRun, role: Role, context: RunContext) -> dict[str, str]:
    return {
        labels.WORKER: context.tools.worker_id,
        labels.RUN: staged.request.message_id,
        labels.FOLDER: staged.folder.root.name,
        labels.ROLE: role.value,
    }
