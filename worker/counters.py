"""What the rooms of the worker count as it happens, for whoever keeps figures; nobody does unless told to."""

from __future__ import annotations

from typing import Literal, Protocol

Direction = Literal["down", "up"]


class Counters(Protocol):
    """Each call may come from any thread, and must return at once."""

    def transferred(self, direction: Direction, size: int) -> None:
        """That many bytes have moved from (`down`) or to (`up`) a store."""

    def pulled(self, seconds: float, ok: bool) -> None:
        """A pull of an image has ended, after that long."""

    def cache_asked(self, hit: bool) -> None:
        """A bundle was wanted that can be cached: it was there, or was downloaded."""

    def connected(self, link: str) -> None:
        """A connection to the broker is up, for the first time or again."""

    def refused(self, fault: str) -> None:
        """A message was refused before it became a run, by a fault of that class."""

    def leases_renewed(self, count: int) -> None:
        """That many leases were renewed."""

    def lease_lost(self) -> None:
        """A lease could not be renewed in time."""


class NoCounters:
    """Counts nothing."""

    def transferred(self, direction: Direction, size: int) -> None:
        """As in `Counters`."""

    def pulled(self, seconds: float, ok: bool) -> None:
        """As in `Counters`."""

    def cache_asked(self, hit: bool) -> None:
        """As in `Counters`."""

    def connected(self, link: str) -> None:
        """As in `Counters`."""

    def refused(self, fault: str) -> None:
        """As in `Counters`."""

    def leases_renewed(self, count: int) -> None:
        """As in `Counters`."""

    def lease_lost(self) -> None:
        """As in `Counters`."""


NO_COUNTERS = NoCounters()
