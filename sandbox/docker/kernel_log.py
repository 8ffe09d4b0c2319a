"""Which containers the kernel refused a process or a thread, as its log tells.

A container's control group counts refusals, but goes with the container, and the engine passes nothing on. The first
refusal of each group is also a line of the kernel's log (Linux 4.8 and newer), from the moment of the refusal on and
past the end of the container. It names the group, whose name holds the container's id, whatever the version of control
groups or their driver; no container can write such a line.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from pathlib import Path

import structlog

_DEVICE = Path("/dev/kmsg")
# What comes from user space has a number above 7 in front.
_REFUSAL = re.compile(rb"[0-7],[^;\n]*;cgroup: fork rejected by pids controller in (\S*)\n")
_REST = re.compile(rb"[0-7],[^;\n]*;(/\S*)\n")
_ID = re.compile(rb".*([0-9a-f]{64})")
# Bytes of the longest record that the kernel hands out.
_RECORD = 8192
# Containers that are remembered; those of other workers on the host are among them.
_MOST = 1000

_log = structlog.get_logger(__name__)


class KernelLog:
    """The log of this host's kernel, read on at each question; where it cannot be read nobody was refused anything.

    It may be asked from any thread.
    """

    def __init__(self, device: Path = _DEVICE) -> None:
        self._refused: deque[str] = deque(maxlen=_MOST)
        self._rest_is_due = False
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            _log.info("no kernel log, the limit of processes goes untold", reason=str(error))

    def refused(self, container: str) -> bool:
        """Whether a process or a thread was refused to it, because it had as many as it may have."""
        with self._lock:
            while record := self._next():
                self._note(record)
            return container in self._refused

    def close(self) -> None:
        """Reads no more."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def _note(self, record: bytes) -> None:
        """The kernel writes that line in two parts: where others came between them, each is a record of its own."""
        found = _REFUSAL.match(record) or (_REST.match(record) if self._rest_is_due else None)
        if not found:
            return
        self._rest_is_due = not found[1]
        if container := _ID.match(found[1]):
            self._refused.append(container[1].decode())

    def _next(self) -> bytes:
        """One record, as the device hands them out; empty where there is no more for now."""
        if self._descriptor is None:
            return b""
        while True:
            try:
                return os.read(self._descriptor, _RECORD)
            except BrokenPipeError:  # records were overwritten before they were read: it goes on with the oldest left
                continue
            except OSError:
                return b""
