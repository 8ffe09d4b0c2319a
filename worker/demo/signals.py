"""Signals while parts run: TERM unwinds as Ctrl-C does, a child hears of both, cleaning up is undisturbed."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHILD_GRACE = 20  # seconds: a test suite takes a while to put its own things away


@contextmanager
def terminable() -> Iterator[None]:
    """Let TERM and HUP unwind this process through its context managers; the default would just end it."""
    with _handling((signal.SIGTERM, signal.SIGHUP), _leave):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Finish what is begun here, whatever is pressed meanwhile."""
    with _handling(STOPPING, signal.SIG_IGN):
        yield


@contextmanager
def polite_child(child: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Have a child process that is never left behind: asked to end when we must, ended when it will not."""
    try:
        yield child
    except KeyboardInterrupt:
        with undisturbed():
            _ended(child)  # the terminal has told it too; a second signal would cut its cleaning up short
        raise
    finally:
        with undisturbed():
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask as Ctrl-C does, upon which test suites clean up; then firmly, then without asking."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        child.send_signal(number)
        if _ended(child):
            return


def _ended(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(CHILD_GRACE)
    except subprocess.TimeoutExpired:
        return False
    return True


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _handling(numbers: tuple[signal.Signals, ...], handler: Callable[..., Any] | signal.Handlers) -> Iterator[None]:
    """Install a handler and restore the old ones; only the main thread can, and needs to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
