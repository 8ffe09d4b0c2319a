"""stdout and stderr of a run as the site shows them: every container's part, in order, and the worker's notes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from protocol.run import Role, UploadSlot
from sandbox.engine import Stream
from worker.kept.folders import RunFolder

_TITLES = {
    Role.PARTICIPANT: "participant's container",
    Role.INGESTION: "ingestion program",
    Role.SCORING: "scoring program",
}
_MAIN = (Role.PARTICIPANT, Role.SCORING)
_PARTS = {
    UploadSlot.STDOUT: (Stream.STDOUT, _MAIN),
    UploadSlot.STDERR: (Stream.STDERR, _MAIN),
    UploadSlot.INGESTION_STDOUT: (Stream.STDOUT, (Role.INGESTION,)),
    UploadSlot.INGESTION_STDERR: (Stream.STDERR, (Role.INGESTION,)),
}
LOGS = tuple(_PARTS)
"""The slots that logs go to: the ingestion program's have their own."""
_ALWAYS = {UploadSlot.STDOUT, UploadSlot.STDERR}
_TAIL = 4096  # bytes; what a person reads of a traceback on a page


def log_parts(folder: RunFolder, slot: UploadSlot) -> dict[Role, list[Path]]:
    """What the containers have written so far of what goes to that slot, in its order."""
    stream, roles = _PARTS[slot]
    return {role: parts for role in roles if (parts := folder.logs(role, stream))}


def write_log(folder: RunFolder, slot: UploadSlot, target: Path, notes: Iterable[str] = ()) -> None:
    """Makes the file to upload to that slot of what there is so far, with `notes` at its end."""
    stream, ran = _PARTS[slot][0], log_parts(folder, slot)
    with target.open("wb+") as file:
        for role, parts in ran.items():
            if len(ran) > 1:
                _line(file, f"===== {_TITLES[role]}: {stream} =====")
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
        for note in notes:
            _line(file, f"[codalab-worker] {note}")


def write_logs(folder: RunFolder, notes: Iterable[str]) -> dict[UploadSlot, Path]:
    """Makes the files to upload of what all containers of the run have written; stderr gets the notes.

    The ingestion program's are there only where it ran.
    """
    files = {slot: folder.outbox / f"{slot}.txt" for slot in LOGS if slot in _ALWAYS or log_parts(folder, slot)}
    for slot, target in files.items():
        write_log(folder, slot, target, notes if slot is UploadSlot.STDERR else ())
    return files


def stderr_tail(folder: RunFolder) -> str:
    """The end of what the last container that ran wrote to stderr; empty where none did.

    Never the ingestion program's, which may name hidden data.
    """
    written = [path for role in _MAIN for path in folder.logs(role, Stream.STDERR)]
    if not written:
        return ""
    with written[-1].open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        return file.read().decode(errors="replace").strip()


def _line(file: BinaryIO, text: str) -> None:
    """A line of the worker's own, on a line of its own whatever came before."""
    if file.tell():
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
    file.write(text.encode(errors="replace") + b"\n")
