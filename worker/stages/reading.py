"""What there is to run, read from the bundles of a run and their metadata."""

from __future__ import annotations

from collections.abc import Callable

from protocol.faults import Fault, OrganiserFault, ParticipantFault
from protocol.run import RunRequest
from sandbox.engine import Image
from worker.archives.tree import remove_tree
from worker.bundles.metadata import MetadataError, NoCommand, command
from worker.kept.folders import RunFolder
from worker.kept.records import Program, Programs
from worker.stages.program import arguments

_INGESTION = "ingestion_program"
_MEND = "its metadata must hold a line `command: …`."

Commands = tuple[tuple[str, ...], ...]
LazyImage = Callable[[], Image | None]
"""The organiser's image: asking for it raises the fault where its pull failed."""


def read_programs(
    request: RunRequest, folder: RunFolder, docker_submission: Image | None, image: LazyImage, ingestions: LazyImage
) -> Programs:
    """The programs of the run. Raises the fault of whoever made one that cannot be run.

    In a prediction run without any program the participant submitted results: they become the output.
    """
    ingestion = _ingestion_commands(folder)
    if request.predict:
        theirs = () if docker_submission else _code_submission(folder)
        if not (docker_submission or theirs or ingestion):
            _move_results(folder)
        scoring: Commands = ()
    else:
        theirs, scoring = (), _scoring_commands(folder)
    return Programs(
        docker_submission=docker_submission,
        code_submission=_program(theirs, image),
        ingestion=_program(ingestion, _ingestion_image(request, image, ingestions)),
        scoring=_program(scoring, image),
    )


def _program(commands: Commands, image: LazyImage) -> Program | None:
    found = image() if commands else None
    return Program(found, commands) if found else None


def _ingestion_image(request: RunRequest, organisers: LazyImage, own: LazyImage) -> LazyImage:
    """Pulled only now, for most runs have no ingestion program; most often it is the organiser's image anyway."""
    if request.ingestion_docker_image in {"", request.docker_image} and not (request.predict and request.submission):
        return organisers
    return own


def _scoring_commands(folder: RunFolder) -> Commands:
    try:
        return _commands(folder, "program")
    except MetadataError as error:
        raise _organisers("scoring program", error) from error


def _ingestion_commands(folder: RunFolder) -> Commands:
    if not (folder.run / _INGESTION).is_dir():
        return ()
    try:
        return _commands(folder, _INGESTION)
    except MetadataError as error:
        raise _organisers("ingestion program", error) from error


def _code_submission(folder: RunFolder) -> Commands:
    """The participant's own commands; none where they submitted code for an ingestion program, or results."""
    try:
        return _commands(folder, "program")
    except NoCommand:
        return ()
    except MetadataError as error:
        raise ParticipantFault(f"Your submission cannot be run: {error}; {_MEND}") from error


def _commands(folder: RunFolder, name: str) -> Commands:
    return tuple(arguments(line, own_folder=name) for line in command(folder.run / name))


def _organisers(what: str, error: MetadataError) -> Fault:
    return OrganiserFault(f"The organiser's {what} cannot be run: {error}; {_MEND}")


def _move_results(folder: RunFolder) -> None:
    remove_tree(folder.output)
    (folder.run / "program").rename(folder.output)
