"""What survives a crash: of each run a small file that says how far it got.

A record holds no secret and no signed URL: those come again with the message. A step that is noted is not
done again. Most records are good for as long as the host is up, so the page cache is safe enough for them;
only the terminal status and its confirmation are forced to the disk, for they outlive a host.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from protocol.run import Role, RunRequest
from sandbox.outcome import Outcome
from worker.host_usage import boot_id
from worker.kept.atomic import write_whole
from worker.kept.journal_record import VERSION, Record, Step

KEPT_CONFIRMED = 1000
"""Runs whose end is remembered, …"""
KEPT_FOR = 7 * 86400.0
"""… and for how many seconds: no broker holds a message back for that long."""
_KEPT_DAMAGED = 20

_log = structlog.get_logger(__name__)


_ADAPTER = TypeAdapter(Record)


class RunJournal:
    """The journal of one run; safe for several threads. A disk that takes no more costs the record, not the run."""

    def __init__(self, journals: Journals, record: Record) -> None:
        self._journals = journals
        self._record = record
        self._lock = threading.Lock()
        self.resumed = bool(record.folder)
        """Whether an earlier process of this worker began the run."""

    @property
    def record(self) -> Record:
        """How far it got."""
        return self._record

    def note(self, *, durable: bool = False, **changes: object) -> None:
        """Adds to the record, by its fields; `durable` where it must outlive the host."""
        with self._lock:
            self._record = replace(self._record, **changes)  # type: ignore[arg-type]
            self._journals.write(self._record, durable=durable)

    def begun(self, role: Role, index: int) -> None:
        """A container is made, and will be started now."""
        self._note_step(Step(role, index))

    def ended(self, role: Role, index: int, outcome: Outcome) -> None:
        """A container has ended so; it is still there."""
        self._note_step(Step(role, index, outcome))

    def confirmed(self) -> None:
        """The broker has confirmed the terminal status: all that is kept of the run is that."""
        terminal = self._record.terminal
        if terminal:
            ended = Record(self._record.message_id, self._record.task_id)
            with self._lock:
                self._record = replace(ended, terminal=replace(terminal, traceback="", confirmed_at=time.time()))
                self._journals.write(self._record, durable=True)
            self._journals.prune()

    def restart(self) -> None:
        """The run is worked anew: nothing of what was noted holds any more."""
        with self._lock:
            fresh = Record(self._record.message_id, self._record.task_id, boot=boot_id())
            self._record = replace(fresh, running_told=self._record.running_told)
            self.resumed = False
            self._journals.remove(self._record)

    def forget(self) -> None:
        """The run is not ours any more."""
        with self._lock:
            self._journals.remove(self._record)

    def _note_step(self, step: Step) -> None:
        with self._lock:
            others = tuple(one for one in self._record.steps if (one.role, one.index) != (step.role, step.index))
            self._record = replace(self._record, steps=(*others, step))
            self._journals.write(self._record)


class Journals:
    """The journals of one worker, in a folder of their own; what is damaged is set aside and stops nobody."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._records: OrderedDict[str, Record] = OrderedDict()
        for record in sorted(self._read_all(), key=_confirmed_at):
            self._records[record.message_id] = record
        self.prune()

    def of(self, request: RunRequest) -> RunJournal:
        """The journal of that run, from an earlier process or fresh."""
        with self._lock:
            found = self._records.get(request.message_id)
        if found and found.task_id == request.task_id:
            return RunJournal(self, found)
        return RunJournal(self, Record(request.message_id, request.task_id, boot=boot_id()))

    def unconfirmed(self) -> tuple[Record, ...]:
        """Runs that were in work."""
        with self._lock:
            return tuple(record for record in self._records.values() if not record.confirmed)

    def confirmed(self) -> tuple[str, ...]:
        """Message ids of runs whose end the site has surely been told, oldest first."""
        with self._lock:
            return tuple(name for name, record in self._records.items() if record.confirmed)

    def write(self, record: Record, *, durable: bool = False) -> None:
        """Replaces the record of that run; where the disk does not take it, there is none any more."""
        with self._lock:
            self._records[record.message_id] = record
            self._records.move_to_end(record.message_id)
        try:
            write_whole(self._path(record), _ADAPTER.dump_json(record), durable=durable)
        except OSError as error:
            _log.warning("journal not written; after a crash the run would be worked anew", reason=str(error))
            self._unlink(record)

    def remove(self, record: Record) -> None:
        """Forgets that run."""
        with self._lock:
            self._records.pop(record.message_id, None)
        self._unlink(record)

    def prune(self) -> None:
        """Forgets confirmed runs that are too many or too old."""
        names = self.confirmed()
        for place, name in enumerate(reversed(names)):
            record = self._records[name]
            if place >= KEPT_CONFIRMED or _confirmed_at(record) < time.time() - KEPT_FOR:
                self.remove(record)

    def _read_all(self) -> Iterator[Record]:
        for path in self._folder.glob("*.json"):
            try:
                record = _ADAPTER.validate_json(path.read_bytes())
                if record.version != VERSION or path != self._path(record):
                    raise ValueError(f"version {record.version} of {record.message_id}")  # noqa: TRY301 -- one place for both
            except (OSError, ValueError, ValidationError) as error:
                self._set_aside(path, error)
            else:
                yield record

    def _set_aside(self, path: Path, error: Exception) -> None:
        kind = type(error).__name__  # the text of a ValidationError quotes what it read
        _log.warning("journal set aside, it cannot be read; its run will be worked anew", file=path.name, error=kind)
        try:
            if sum(1 for _ in self._folder.glob("*.damaged")) < _KEPT_DAMAGED:
                path.rename(path.with_suffix(".damaged"))
            else:
                path.unlink()
        except OSError as failure:
            _log.warning("journal not set aside", file=path.name, reason=failure.strerror)

    def _path(self, record: Record) -> Path:
        return self._folder / f"{sha256(record.message_id.encode(errors='replace')).hexdigest()[:32]}.json"

    def _unlink(self, record: Record) -> None:
        try:
            self._path(record).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("journal not removed", reason=str(error))


def _confirmed_at(record: Record) -> float:
    return (record.terminal and record.terminal.confirmed_at) or 0.0
