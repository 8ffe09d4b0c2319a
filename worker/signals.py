"""Signals that ask this process to end, as calls of a function."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

_ENDING = (signal.SIGTERM, signal.SIGINT)


def watch_signals(note: Callable[[str], None]) -> None:
    """Calls `note` with the name of each SIGTERM and SIGINT, in a thread, from here to the end of the process.

    Every thread blocks them and this one waits for them: Python would run a handler only when the main thread
    next wakes, and the kernel may give the signal to another thread, which wakes nobody. So this is to be
    called before other threads are started.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    threading.Thread(target=_wait, args=(note,), name="signals", daemon=True).start()


def _wait(note: Callable[[str], None]) -> None:
    while True:
        note(signal.Signals(signal.sigwait(_ENDING)).name)
