"""Everything that a run needs before a container starts: images and bundles, fetched side by side."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

from protocol.run import RunRequest
from sandbox.cancellation import Cancellation
from worker.archives.tree import give
from worker.archives.unpack import ArchiveLimits
from worker.bundles.fetch import fetch
from worker.kept.folders import RunFolder
from worker.kept.records import Programs, StagedRun
from worker.stages.bounding import participants_folders
from worker.stages.pulling import ingestion_image, participant_image, program_image
from worker.stages.reading import read_programs
from worker.stages.walling import wall_off
from worker.tools import Progress, Tools

FETCH_DEADLINE = 3600.0  # seconds for all bundles of a run
_WHERE_CONTAINERS_WRITE = 0o777  # whichever user the image runs as; the folder above is closed to others


def stage(request: RunRequest, folder: RunFolder, tools: Tools, cancellation: Cancellation) -> StagedRun:
    """Fetches images and bundles side by side, and reads what there is to run.

    Whether a wall is needed is known beforehand of docker submissions only. Raises the fault to tell, or `Cancelled`.
    """
    with ThreadPoolExecutor(4, thread_name_prefix="stage") as pool:
        wall = pool.submit(tools.walls.make, folder.root) if tools.walls and request.submission else None
        theirs = pool.submit(copy_context().run, participant_image, request, tools, cancellation)
        organisers = pool.submit(copy_context().run, program_image, request, tools, cancellation)
        notes = pool.submit(copy_context().run, _fetch, request, folder, tools, cancellation)
    # The participant's mistake is told first: it is the one that they can mend.
    docker_submission, noted = theirs.result(), notes.result()
    _set_aside_hidden(folder)
    ingestions = partial(ingestion_image, request, tools, cancellation)
    programs = read_programs(request, folder, docker_submission, organisers.result, ingestions)
    _prepare(folder, request, programs, tools, wall)
    return StagedRun(request, folder, programs, noted)


def _fetch(request: RunRequest, folder: RunFolder, tools: Tools, cancellation: Cancellation) -> tuple[str, ...]:
    limits = ArchiveLimits(tools.settings.worker_bundle_limit, tools.settings.worker_bundle_files_limit)
    return fetch(
        request.bundle_url,
        folder.run,
        transfers=tools.transfers,
        limits=limits,
        deadline=FETCH_DEADLINE,
        optional=_optional(request),
        submission="program" if request.predict else "input/res",
        progress=_cancellable(tools.progress, cancellation),
        cache=tools.cache,
    )


def _cancellable(progress: Progress | None, cancellation: Cancellation) -> Progress:
    """Breaks a download off, whose progress it hears, where nobody wants the run any more."""

    def heard(what: str, done: int, total: int) -> None:
        cancellation.check()
        if progress:
            progress(what, done, total)

    return heard


def _optional(request: RunRequest) -> frozenset[str]:
    """What a docker submission stands in for: the site sends dead or empty URLs in its place."""
    if not request.submission:
        return frozenset()
    return frozenset({"program"} if request.predict else {"input/res"})


def _set_aside_hidden(folder: RunFolder) -> None:
    """Out of the run's own folder, which other programs than the ingestion program see."""
    fetched = folder.run / folder.hidden_ref.name
    if fetched.is_dir():
        fetched.rename(folder.hidden_ref)


def _prepare(
    folder: RunFolder, request: RunRequest, programs: Programs, tools: Tools, wall: Future[None] | None
) -> None:
    """The folders that containers write to, for whichever user they run as."""
    (folder.run / "input").mkdir(exist_ok=True)
    written = set(folder.written)
    if request.submission and not request.predict:
        folder.results.mkdir(exist_ok=True)
        written.add(folder.results)
    theirs = participants_folders(request, folder, programs)
    if tools.walls and theirs:
        wall_off(folder, theirs, tools.walls, wall)
    for path in written:
        path.chmod(_WHERE_CONTAINERS_WRITE)
    if tools.remapped_root:  # organisers' programs write as root anywhere in the run's folder
        give(folder.run, *tools.remapped_root)
