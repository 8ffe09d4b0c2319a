"""Logs, then archives, to the places that the site signed for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from protocol.faults import LastingFault, PassingFault
from protocol.run import RunRequest, UploadSlot
from sandbox.usage import Usage, measure
from worker.archives.pack import pack
from worker.archives.tree import sanitise
from worker.archives.web_page import copy_web_page
from worker.kept.folders import RunFolder
from worker.kept.journal_record import Packed
from worker.kept.records import PublishedRun, ScoredRun
from worker.stages.bounding import most
from worker.stages.containers import RunContext
from worker.stages.result_metadata import result_metadata
from worker.stages.run_logs import write_logs
from worker.storage.errors import StoreUnavailable, TransferError
from worker.storage.patience import patiently

UPLOAD_DEADLINE = 3600.0  # seconds for one file
_PRIVATE = "private"
_TYPES = {".txt": "text/plain; charset=utf-8", ".zip": "application/zip", ".html": "text/html; charset=utf-8"}

_log = structlog.get_logger(__name__)


def publish(scored: ScoredRun, context: RunContext) -> PublishedRun:
    """Stores everything that the run left; a store that is away is waited for, some minutes.

    Raises the platform's fault where the store refuses, or does not come back.
    """
    staged = scored.executed.staged
    packed = context.journal.record.packed or _packed(scored, context)
    archives = {slot: staged.folder.outbox / name for slot, name in packed.files}
    notes = (*staged.notes, *scored.executed.notes, *packed.notes)
    _upload_all(staged.request, write_logs(staged.folder, notes), context)
    _upload_all(staged.request, archives, context)
    duration = sum(outcome.elapsed for outcome in scored.ingestion) if scored.ingestion else None
    return PublishedRun(scored.fault, duration)


def publish_logs(request: RunRequest, folder: RunFolder, context: RunContext) -> None:
    """Stores stdout and stderr, each with the parts of all containers that ran so far; waits for nobody."""
    _upload_all(request, write_logs(folder, ()), replace(context, upload_patience=0.0))


def _packed(scored: ScoredRun, context: RunContext) -> Packed:
    files, left_out = _archives(scored, most(context.tools.settings))
    packed = Packed(tuple((slot, path.name) for slot, path in files.items()), left_out)
    context.journal.note(packed=packed)
    return packed


def _archives(scored: ScoredRun, limit: Usage) -> tuple[dict[UploadSlot, Path], tuple[str, ...]]:
    """The files to store after the logs, and notes of what was left out of them: what is beyond `limit`, too."""
    folder, wanted = scored.executed.staged.folder, scored.executed.staged.request.uploads
    metadata = {"metadata": result_metadata(scored)}
    public, page = folder.outbox / "output.zip", folder.outbox / "detailed_results.html"
    output, notes = _output(folder, limit)
    left_out = (*sanitise(output), *pack(output, public, leave_out={_PRIVATE}, extra=metadata, limit=limit.size))
    files = {UploadSlot.OUTPUT: public, UploadSlot.PRIVATE_OUTPUT: public}
    if UploadSlot.PRIVATE_OUTPUT in wanted and (output / _PRIVATE).is_dir():
        files[UploadSlot.PRIVATE_OUTPUT] = folder.outbox / "private_output.zip"
        pack(output, files[UploadSlot.PRIVATE_OUTPUT], extra=metadata, limit=limit.size)
    if UploadSlot.DETAILED_RESULTS in wanted and copy_web_page(output, page, limit=limit.size):
        files[UploadSlot.DETAILED_RESULTS] = page
    return files, (*notes, *(f"left out of the output: {entry}" for entry in left_out))


def _output(folder: RunFolder, limit: Usage) -> tuple[Path, tuple[str, ...]]:
    """The output folder, or an empty one in its place where it has more names than can be told one by one."""
    if measure((folder.output,), most=Usage(sys.maxsize, limit.names)).names <= limit.names:
        return folder.output, ()
    return folder.empty_input, (f"left out of the output: all of it, for it has more than {limit.names} entries",)


def content_type(path: Path) -> str:
    """The media type of a file of results, by its suffix."""
    return _TYPES[path.suffix]


def _upload_all(request: RunRequest, files: Mapping[UploadSlot, Path], context: RunContext) -> None:
    """Stores those files that the site signed a place for, side by side.

    Raises the platform's fault where the store refuses or is away.
    """
    wanted = [(slot, path) for slot, path in files.items() if slot in request.uploads]
    if not wanted:
        return
    with ThreadPoolExecutor(len(wanted), thread_name_prefix="upload") as pool:
        uploads = [pool.submit(copy_context().run, _upload_one, request, slot, path, context) for slot, path in wanted]
    for upload in uploads:
        upload.result()


def _upload_one(request: RunRequest, slot: UploadSlot, path: Path, context: RunContext) -> None:
    tools = context.tools
    upload = partial(
        tools.transfers.upload,
        request.uploads[slot],
        path,
        content_type=content_type(path),
        deadline=UPLOAD_DEADLINE,
        progress=partial(tools.progress, f"upload {slot}") if tools.progress else None,
    )
    try:
        patiently(upload, context.control.wait, what=slot.value, patience=context.upload_patience)
    except StoreUnavailable as error:
        raise PassingFault(
            f"The platform's storage did not take {slot}; it may be back soon.", detail=str(error)
        ) from error
    except TransferError as error:
        raise LastingFault(
            f"The platform's storage refused {slot}; its administrator must look at the signed addresses.",
            detail=str(error),
        ) from error
    _log.info("uploaded", slot=slot.value, bytes=path.stat().st_size)
