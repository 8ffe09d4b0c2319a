"""What can be refused of a run before anything is fetched or computed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from protocol.expiry import expires_at
from protocol.faults import LastingFault, ParticipantFault
from protocol.run import RunRequest
from protocol.urls import SignedUrl
from worker.stages.pulling import check_allowed
from worker.tools import Tools


def time_limit(request: RunRequest, tools: Tools) -> float:
    """Seconds that each container of the run may take."""
    limit = request.time_limit or tools.settings.worker_default_time_limit
    return limit if request.time_left is None else min(limit, request.time_left)


def admit(request: RunRequest, tools: Tools) -> None:
    """Raises the fault of a run that cannot end well, whatever its containers do."""
    if request.time_left == 0:
        raise ParticipantFault("Your submission cannot run: earlier runs have used up all the time that it may use.")
    if request.submission:
        check_allowed(request.submission.image, tools.settings.worker_allowed_images)
        _check_input_folder(request, tools)
    _check_expiry(request, time_limit(request, tools))


def _check_input_folder(request: RunRequest, tools: Tools) -> None:
    asked = request.submission.input_folder_asked if request.submission else None
    theirs = tools.settings.worker_participant_input_dir
    if asked and asked[0] != str(theirs or ""):
        raise ParticipantFault(
            f"Your submission's docker command asks for the host folder {asked[0]}, which this platform does "
            "not offer; leave that -v out: the input data are at /mnt/in."
        )


def _check_expiry(request: RunRequest, limit: float) -> None:
    now = datetime.now(UTC)
    _check_one("bundle_url", request.bundle_url, now, now)
    for slot, url in request.uploads.items():
        _check_one(slot.value, url, now, now + timedelta(seconds=limit))


def _check_one(name: str, url: SignedUrl, now: datetime, needed_until: datetime) -> None:
    expiry = expires_at(url)
    if expiry is None or expiry >= needed_until:
        return
    when = f"{expiry:%Y-%m-%d %H:%M:%S} UTC"
    if expiry < now:
        raise LastingFault(
            f"The platform's signed address {name} expired at {when}, before the run began; submit again."
        )
    raise LastingFault(
        f"The platform's signed address {name} expires at {when}, before the run's time limit would; "
        "its administrator must sign for longer."
    )
