"""The options of `docker run`, read as its own command line reads them; only the harmless are let through."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from protocol.faults import ParticipantFault

_FLAGS = {"rm": "rm", "interactive": "interactive", "i": "interactive", "tty": "tty", "t": "tty"}
_VALUED = {
    "name": "name",
    "volume": "volume",
    "v": "volume",
    "env": "env",
    "e": "env",
    "workdir": "workdir",
    "w": "workdir",
    "entrypoint": "entrypoint",
}
_BOOLEANS = frozenset({"true", "false", "True", "False", "TRUE", "FALSE", "t", "f", "T", "F", "1", "0"})
_NAME = re.compile(r"-[A-Za-z0-9]|--[A-Za-z0-9][A-Za-z0-9-]{0,40}")


@dataclass(frozen=True, slots=True)
class Option:
    """One option that takes a value: its long `name`, and as it was `given` (`-v`), to say in a refusal."""

    name: str
    given: str
    value: str = field(repr=False)


def refused(given: str, reason: str = "which is not allowed on this platform") -> ParticipantFault:
    """The fault for an option; it names the option and never quotes its value."""
    shown = f"the option {given}" if _NAME.fullmatch(given) else "an option with an unreadable name"
    return ParticipantFault(f"Your submission's docker command uses {shown}, {reason}.")


def split(words: Sequence[str]) -> tuple[tuple[Option, ...], tuple[str, ...]]:
    """The options that have a value, and the words from the image on; flags that change nothing are dropped.

    Raises `ParticipantFault` for any option that is not harmless or lacks its value.
    """
    rest = deque(words)
    options: list[Option] = []
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.popleft()
        if word == "--":
            break
        options.extend(_long(word, rest) if word.startswith("--") else _short(word, rest))
    return tuple(options), tuple(rest)


def _long(word: str, rest: deque[str]) -> Iterator[Option]:
    """`--option`, `--option=value` or `--option value`."""
    given, equals, value = word.partition("=")
    name = given.removeprefix("--")
    if name in _VALUED and len(name) > 1:
        yield Option(_VALUED[name], given, value if equals else _next(given, rest))
    elif name in _FLAGS and len(name) > 1:
        _check_flag(given, equals, value)
    else:
        raise refused(given)


def _short(word: str, rest: deque[str]) -> Iterator[Option]:
    """`-it`, `-e KEY=V`, `-eKEY=V`, `-e=KEY=V`, flags before an option with a value: `-itv {}:/out`."""
    letters = word[1:]
    while letters:
        given, letters = f"-{letters[0]}", letters[1:]
        if given[1] in _VALUED:
            yield Option(_VALUED[given[1]], given, letters.removeprefix("=") if letters else _next(given, rest))
            return
        if given[1] not in _FLAGS:
            raise refused(given)
        if letters.startswith("="):
            _check_flag(given, "=", letters[1:])
            return


def _check_flag(given: str, equals: str, value: str) -> None:
    if equals and value not in _BOOLEANS:
        raise refused(given, "whose value can only be true or false")


def _next(given: str, rest: deque[str]) -> str:
    if not rest:
        raise refused(given, "which needs a value")
    return rest.popleft()
