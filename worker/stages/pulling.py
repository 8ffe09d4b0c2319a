"""The images of a run: whether they may be used, and whose fault it is when they cannot be had."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from protocol.faults import Fault, LastingFault, OrganiserFault, ParticipantFault, PassingFault
from protocol.run import Role, RunRequest
from sandbox import images
from sandbox.cancellation import Cancellation
from sandbox.engine import Image
from sandbox.errors import (
    EngineRefused,
    EngineUnreachable,
    ImageError,
    ImageNotFound,
    ImageNotHeld,
    RegistryUnreachable,
)
from worker.tools import Tools

_OWNERS: dict[Role, tuple[str, type[Fault]]] = {
    Role.PARTICIPANT: ("Your submission's", ParticipantFault),
    Role.INGESTION: ("The organiser's ingestion program's", OrganiserFault),
    Role.SCORING: ("The organiser's", OrganiserFault),
}

_log = structlog.get_logger(__name__)


def participant_image(request: RunRequest, tools: Tools, cancellation: Cancellation) -> Image | None:
    """The image of the docker submission; None where there is none. Raises the fault to tell."""
    if not request.submission:
        return None
    return _obtain(request, request.submission.image, Role.PARTICIPANT, tools, cancellation)


def program_image(request: RunRequest, tools: Tools, cancellation: Cancellation) -> Image | None:
    """The organiser's image for a scoring program or a code submission; None where a docker submission predicts."""
    if request.predict and request.submission:
        return None
    return _obtain(request, request.docker_image, Role.SCORING, tools, cancellation)


def ingestion_image(request: RunRequest, tools: Tools, cancellation: Cancellation) -> Image:
    """The image that the ingestion program runs in. Raises the fault to tell."""
    image = request.ingestion_docker_image or request.docker_image
    return _obtain(request, image, Role.INGESTION, tools, cancellation)


def bring_back(request: RunRequest, image: Image, tools: Tools, cancellation: Cancellation) -> None:
    """Pulls an image that somebody has removed from the engine since this run had it.

    Raises `EngineRefused`, `EngineUnreachable`, `Cancelled`, or an `ImageError` where that very image cannot be had.
    """
    policy = images.PullPolicy(tools.settings.worker_pull_policy)
    run, name = request.message_id, image.reference
    again = tools.images.obtain(run, name, policy, progress=None, cancellation=cancellation, anew=True)
    if again.id != image.id:
        raise ImageNotFound(name, "it was removed from the engine, and its name stands for another image by now")
    _log.warning("image pulled again, for somebody had removed it from the engine", image=name, id=image.id)


def check_allowed(reference: str, patterns: tuple[str, ...]) -> None:
    """Raises `ParticipantFault` where the operator allows participants other images only."""
    if patterns and not images.allowed(reference, patterns):
        raise ParticipantFault(
            f"Your submission's image {reference} is not among those that this worker may run: {', '.join(patterns)}."
        )


def _obtain(request: RunRequest, reference: str, role: Role, tools: Tools, cancellation: Cancellation) -> Image:
    policy = images.PullPolicy(tools.settings.worker_pull_policy)
    progress = _progress(reference, tools)
    try:
        image = tools.images.obtain(request.message_id, reference, policy, progress=progress, cancellation=cancellation)
    except EngineUnreachable as error:
        raise PassingFault("The platform's container engine does not answer.", detail=str(error)) from error
    except EngineRefused as error:
        raise LastingFault(
            f"The platform's worker could not fetch the image {reference}; its operator finds the reason in its log.",
            detail=str(error),
        ) from error
    except ImageError as error:
        raise _image_fault(error, role) from error
    _log.info("image ready", image=reference, id=image.id)
    return image


def _image_fault(error: ImageError, role: Role) -> Fault:
    if isinstance(error, RegistryUnreachable):
        return PassingFault(
            f"The platform could not pull the image {error.reference}: its registry does not answer as it should.",
            detail=error.reason,
        )
    whose, kind = _OWNERS[role]
    if isinstance(error, ImageNotHeld):
        return kind(
            f"{whose} image {error.reference} is not on this platform, which fetches none: name one that it has, "
            "or ask its operator to add this one.",
            detail=error.reason,
        )
    return kind(
        f"{whose} image {error.reference} cannot be pulled: {_plain_reason(error)}; "
        "check its name and that it is public.",
        detail=error.reason,
    )


def _plain_reason(error: ImageError) -> str:
    """The registry's words, each said once: engines quote them twice."""
    parts = dict.fromkeys(part.strip() for part in " ".join(error.reason.split()).split(": "))
    return ": ".join(parts)[:200].rstrip(".")


def _progress(reference: str, tools: Tools) -> Callable[[int, int], None] | None:
    if not (report := tools.progress):
        return None
    return lambda done, total: report(f"pull {reference}", done, total)
