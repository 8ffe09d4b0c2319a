"""The last names of something: a memory that forgets the oldest."""

from __future__ import annotations

import threading
from collections import OrderedDict


class Remembered:
    """Holds the last `most` names that were added. Safe for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._names: OrderedDict[str, None] = OrderedDict()

    def add(self, name: str) -> None:
        """Remembers the name, as the latest."""
        with self._lock:
            self._names[name] = None
            self._names.move_to_end(name)
            if len(self._names) > self._most:
                self._names.popitem(last=False)

    def all(self) -> tuple[str, ...]:
        """The oldest first."""
        with self._lock:
            return tuple(self._names)

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._names
