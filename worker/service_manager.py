"""What the service manager (systemd) is told, by its own protocol: sd_notify(3), over the socket that it names.

`NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are no settings of this worker: systemd puts them into the
environment of a service, and where nobody did nothing is told.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from worker.observers import RunEnded, RunInWork

_MICRO = 1_000_000


class ServiceManager:
    """Safe for several threads; never fails, never waits. `period` is how often it wants to hear `alive`, in seconds.

    A message that does not get through is not repeated: systemd reads its socket, or is not there.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.period = _period(environ) if address else None

    def ready(self) -> None:
        """The worker is set up, or set up anew."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Settings are read again; `ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={round(time.monotonic() * _MICRO)}")

    def stopping(self, within: float) -> None:
        """The worker takes nothing new and will end within so many seconds, however short TimeoutStopSec is."""
        self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={round(within * _MICRO)}")

    def alive(self) -> None:
        """The main thread is where it should be."""
        if self.period:
            self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line, as `systemctl status` shows it."""
        self._tell(f"STATUS={text}")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)


def _period(environ: Mapping[str, str]) -> float | None:
    """Half of what systemd waits, as it asks for; None where there is no watchdog, or it is not for this process."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / _MICRO / 2


class StatusLine:
    """An observer: keeps the service manager's status line true."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._stages: dict[str, str] = {}

    def run_taken(self, run: RunInWork) -> None:
        """One more in work."""
        self._note(run, "taken")

    def run_stage(self, run: RunInWork, stage: str) -> None:
        """It has come further."""
        self._note(run, stage)

    def run_ended(self, run: RunInWork, ended: RunEnded) -> None:
        """One less."""
        del ended
        self._note(run, None)

    def _note(self, run: RunInWork, stage: str | None) -> None:
        with self._lock:
            self._stages.pop(run.message_id, None)
            if stage:
                whose = run.message_id if run.submission_id is None else run.submission_id
                self._stages[run.message_id] = f"{whose} ({stage})"
            runs = ", ".join(self._stages.values())
            self._manager.status(f"in work: {runs}" if runs else "waiting for runs")
