"""Child processes that may outlive this one: begun, awaited, found again, ended without leftovers."""

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LOG_TAIL_LINES = 15
KILL_PATIENCE = 5.0  # seconds
BIRTH_TOLERANCE = 1.0  # seconds: how far two readings of the same process's start may lie apart

# Children of this very process, kept so that they are reaped when they end (and not reported as forgotten).
_own: dict[int, subprocess.Popen[bytes]] = {}


interrupted = threading.Event()
"""Set when starting is to be given up: whoever waits for a child stops it instead."""


class PartsError(Exception):
    """A part could not be had; the sentence says what to do about it."""


@dataclass(frozen=True)
class Child:
    """A process that we began; pid *and* birth name it, since a pid alone may be someone else's by now."""

    name: str
    pid: int
    born: float
    log: str


def start(name: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Child:
    """Begin a process in a session of its own (a Ctrl-C here is not for it), its output in a log file."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _own[process.pid] = process
    return Child(name, process.pid, _birth(process.pid), str(log))


def _birth(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def wait_until(probe: Callable[[], bool], child: Child, seconds: float) -> None:
    """Wait until the probe says yes; a child that ends or is too slow is stopped, its last words told."""
    try:
        _poll(probe, child, time.monotonic() + seconds)
    except BaseException:
        stop(child)
        raise


def _poll(probe: Callable[[], bool], child: Child, deadline: float) -> None:
    while not probe():
        if interrupted.is_set():
            raise PartsError(f"{child.name} was interrupted while starting")
        if not alive(child):
            raise PartsError(f"{child.name} ended while starting{log_tail(child)}")
        if time.monotonic() > deadline:
            raise PartsError(f"{child.name} was not ready in time{log_tail(child)}")
        time.sleep(0.03)


def log_tail(child: Child) -> str:
    """Give the last lines of a child's log, ready to follow a sentence."""
    with suppress(OSError):
        lines = Path(child.log).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "; the end of its log:\n  " + "\n  ".join(lines) if lines else "; its log is empty"
    return ""


def find(child: Child) -> psutil.Process | None:
    """Find the process again, unless it has ended or its pid now belongs to another."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(child.pid)
        if abs(process.create_time() - child.born) < BIRTH_TOLERANCE and _runs(process):
            return process
    return None


def alive(child: Child) -> bool:
    """Tell whether a child still runs."""
    return find(child) is not None


def stop(child: Child, grace: float = 10.0) -> None:
    """End a child and all that it began: TERM to the child, after the grace KILL to what is left of them."""
    process = find(child)
    if process is not None:
        family = [process, *process.children(recursive=True)]
        if grace > 0:
            _signal([process], "terminate")
            _wait_for([process], grace)
        kill(family)
    if (own := _own.pop(child.pid, None)) is not None:
        own.wait()


def kill(processes: Sequence[psutil.Process]) -> None:
    """End processes at once, and wait until they are gone."""
    _signal([process for process in processes if _runs(process)], "kill")
    _wait_for(processes, KILL_PATIENCE)


def _wait_for(processes: Sequence[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    """Tell whether a process lives: neither dead but not yet collected, nor a later one of the same pid."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _signal(processes: Sequence[psutil.Process], verb: str) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            getattr(process, verb)()
