"""Logs and detailed results while a run is under way, so that people can watch it on an unchanged site.

What is stored here must never undo what is stored at the run's end. So the end stops a file that is under way
before its last byte, in which case a store keeps nothing of it; one that was sent whole is waited for, and
Azure is told which version alone it may replace, should it act on it later still.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import structlog

from protocol.run import RunRequest, UploadSlot
from worker.archives.web_page import open_web_page
from worker.kept.folders import RunFolder
from worker.stages.publishing import content_type
from worker.stages.run_logs import LOGS, log_parts, write_log
from worker.storage.errors import TransferError, UrlRefused
from worker.tools import Tools

_END_WAIT = 10.0  # seconds that a run's end waits at most for the store's answer to what was sent already
_SILENCE = 5.0  # seconds; less than that, so that nothing is unanswered for long
_DEADLINE = 60.0  # seconds for one file
_LARGEST = 32 << 20  # bytes; a larger file is stored at the end only. One PUT takes it everywhere
_RATE = 256 << 10  # bytes a second that a run's live files may come to, for each is stored whole when it has grown
_CHUNK = 256 << 10
_PAUSE_SHARE = 9  # times as long as the last look took: a huge output folder or a slow store is looked at less often

_log = structlog.get_logger(__name__)


@contextmanager
def live_results(request: RunRequest, folder: RunFolder, tools: Tools) -> Iterator[None]:
    """Stores what has changed every WORKER_LIVE_LOGS seconds or, where that is much, less often; never fails a run.

    The end of the block is the end of it, and is held up by ten seconds at most.
    """
    period = tools.settings.worker_live_logs
    live = _Live(request, folder, tools)
    if not period or not live.slots:
        yield
        return
    thread = threading.Thread(target=copy_context().run, args=(live.follow, period), name="live-results", daemon=True)
    thread.start()
    try:
        yield
    finally:
        live.ended.set()
        thread.join(_END_WAIT)
        if thread.is_alive():
            _log.warning("the store has not answered a live upload in time")


class _EndedError(Exception):
    """The run ended while a file was sent."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What there is to store: `state` differs once it has changed, `copy` writes it to a file."""

    state: object
    size: int
    copy: Callable[[Path], None]


class _Live:
    """The live files of one run, and which state of each the store has."""

    def __init__(self, request: RunRequest, folder: RunFolder, tools: Tools) -> None:
        self._request = request
        self._folder = folder
        self._tools = tools
        self._states: dict[UploadSlot, object] = {}
        self._versions: dict[UploadSlot, str] = {}
        self.slots = [slot for slot in (*LOGS, UploadSlot.DETAILED_RESULTS) if slot in request.uploads]
        """Those that the store takes."""
        self.ended = threading.Event()
        """Set when nothing more may be sent."""

    def follow(self, period: float) -> None:
        """Looks every `period` seconds whether something is new: there is nobody who could tell."""
        pause = period
        while not self.ended.wait(pause):
            began = time.monotonic()
            sent = sum(self._look(slot) for slot in tuple(self.slots))
            pause = max(period, sent / _RATE, _PAUSE_SHARE * (time.monotonic() - began))

    def _look(self, slot: UploadSlot) -> int:
        """Stores what is new for that slot; returns how many bytes that took."""
        try:
            with self._snapshot(slot) as found:
                if not found or found.state == self._states.get(slot) or not 0 < found.size <= _LARGEST:
                    return 0
                self._store(slot, found)
                return found.size
        except _EndedError:
            return 0
        except UrlRefused as refusal:
            self._refused(slot, refusal)
        except (TransferError, OSError) as error:
            _log.debug("live upload failed", slot=slot.value, reason=str(error))
        return 0

    @contextmanager
    def _snapshot(self, slot: UploadSlot) -> Iterator[_Snapshot | None]:
        if slot is not UploadSlot.DETAILED_RESULTS:
            sizes = [path.stat().st_size for parts in log_parts(self._folder, slot).values() for path in parts]
            yield _Snapshot(sizes, sum(sizes), partial(write_log, self._folder, slot))
        elif page := open_web_page(self._folder.output):
            with page:
                status = os.fstat(page.fileno())
                state = (status.st_ino, status.st_size, status.st_mtime_ns)
                yield _Snapshot(state, status.st_size, partial(_copy_start, page, status.st_size))
        else:
            yield None

    def _store(self, slot: UploadSlot, found: _Snapshot) -> None:
        self._check()
        copy = self._folder.outbox / f"live-{slot}{'.txt' if slot in LOGS else '.html'}"
        found.copy(copy)
        self._versions[slot] = self._tools.transfers.upload_once(
            self._request.uploads[slot],
            copy,
            content_type=content_type(copy),
            deadline=_DEADLINE,
            silence=_SILENCE,
            progress=lambda _sent, _size: self._check(),
            version=self._versions.get(slot, ""),
        )
        self._states[slot] = found.state

    def _check(self) -> None:
        if self.ended.is_set():
            raise _EndedError

    def _refused(self, slot: UploadSlot, refusal: UrlRefused) -> None:
        """Either what was not answered was stored all the same, and the next replaces that; or no more is taken."""
        if refusal.status == HTTPStatus.PRECONDITION_FAILED and self._versions.pop(slot, ""):
            return
        self.slots.remove(slot)
        _log.warning("no more live uploads", slot=slot.value, reason=str(refusal))


def _copy_start(page: BinaryIO, size: int, target: Path) -> None:
    """No more than was there when it was looked at: it may grow as fast as it is read."""
    with target.open("wb") as copy:
        left = size
        while left and (data := page.read(min(left, _CHUNK))):
            copy.write(data)
            left -= len(data)
