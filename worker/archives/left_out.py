"""What was not taken over from a container's folder, as lines that a participant may read."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_LISTED = 50
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One thing left out. `name` is its path, made printable and cut where it is long."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Omissions:
    """Collects them; names the first fifty and counts the rest, so that no container can flood a log."""

    def __init__(self) -> None:
        self._listed: list[LeftOut] = []
        self._more = 0

    @property
    def full(self) -> bool:
        """True where another one would only be counted, so that nobody need work out its path."""
        return len(self._listed) >= _MOST_LISTED

    def add(self, path: str, reason: str) -> None:
        """Notes one; the path may hold anything that a file name can."""
        if self.full:
            self._more += 1
        else:
            self._listed.append(LeftOut(printable(path), reason))

    def result(self) -> tuple[LeftOut, ...]:
        """All of them; the last says how many are not named."""
        rest = (LeftOut(f"{self._more} more", "likewise left out, not named here"),) if self._more else ()
        return (*self._listed, *rest)


def printable(path: str) -> str:
    """Escapes control characters and bytes that are no UTF-8, and cuts in the middle."""
    if len(path) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        path = f"{path[:half]}…{path[-half:]}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in path)
