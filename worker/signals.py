"""Signals as calls of a function: those that ask this process to end, and the one to read its settings again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable

_ENDING = (signal.SIGTERM, signal.SIGINT)
REREAD = signal.SIGHUP.name


def watch_signals(note: Callable[[str], None], *, reread: bool = False) -> None:
    """Calls `note` with the name of each SIGTERM and SIGINT, in a thread, from here to the end of the process.

    With `reread` SIGHUP is among them, and does not end the process as it else would.

    Every thread blocks them and this one waits for them: Python would run a handler only when the main thread
    next wakes, and the kernel may give the signal to another thread, which wakes nobody. So this is to be
    called before other threads are started.
    """
    watched = (*_ENDING, signal.SIGHUP) if reread else _ENDING
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    threading.Thread(target=_wait, args=(watched, note), name="signals", daemon=True).start()


def _wait(watched: Iterable[signal.Signals], note: Callable[[str], None]) -> None:
    while True:
        note(signal.Signals(signal.sigwait(watched)).name)
