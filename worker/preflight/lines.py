"""What a check finds: a name, a state, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from config.settings import Settings


class State(StrEnum):
    """How well a thing is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line of the table. `mend` is a command or a sentence; empty where all is well."""

    name: str
    state: State
    found: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return {name: str(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Check:
    """Something to be looked at: `look` gives its lines one by one, so that what comes before a hang is kept."""

    name: str
    look: Callable[[Settings], Iterable[CheckLine]]


def ok(name: str, found: str) -> CheckLine:
    """All is well."""
    return CheckLine(name, State.OK, found)


def warning(name: str, found: str, mend: str) -> CheckLine:
    """It works, but not as it should."""
    return CheckLine(name, State.WARNING, found, mend)


def failed(name: str, found: str, mend: str) -> CheckLine:
    """Runs would fail, or none would be taken."""
    return CheckLine(name, State.FAILED, found, mend)


def any_failed(lines: Iterable[CheckLine]) -> bool:
    """Whether one of them is."""
    return any(line.state is State.FAILED for line in lines)


Lines = Iterator[CheckLine]
"""What a room's `look` gives."""
