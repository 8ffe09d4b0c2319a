"""One message in our hands, as the broker delivered it, and who works it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

ATTEMPTS_HEADER = "x-codalab-worker-attempts"
"""Attempts at the run that failed for passing reasons; workers of other makes keep headers, so it survives them."""

LEASES = ".lease."
"""Within the name of every lease queue: what expired there was in work on a host that died."""

_MOST = 1000  # no count says more, whatever nonsense a header holds


class Settlement(Enum):
    """What becomes of a message that we hold."""

    ACK = auto()
    """The run is over."""
    REJECT = auto()
    """It was no run: to the queue's dead-letter exchange if it has one, else discarded."""
    GIVE_BACK = auto()
    """To the queue at once, and no attempt counted."""
    RETRY = auto()
    """To the queue after a pause, with one failed attempt more on its count."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is to be worked and then settled.

    `hold` names our hold on it, from its delivery to its settlement: delivery tags come and go meanwhile.
    `resumed` is True where an earlier process of this worker held it, and its journal may know the run; `leased`
    where it is our copy that we hold.
    `properties` are AMQP's basic properties by their names, without the headers.
    """

    hold: str
    redelivered: bool
    body: bytes = field(repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    exchange: str = ""
    routing_key: str = ""
    resumed: bool = False
    leased: bool = False

    @property
    def content_type(self) -> str | None:
        """MIME type of the body, as its publisher says."""
        return self._text("content_type")

    @property
    def content_encoding(self) -> str | None:
        """Character set of the body, as its publisher says."""
        return self._text("content_encoding")

    @property
    def priority(self) -> int:
        """As its publisher says; 0 where it says none."""
        return _count(self.properties.get("priority"))

    @property
    def counted_attempts(self) -> int:
        """Attempts that failed for a passing reason, by our own count in the header."""
        return _count(self.headers.get(ATTEMPTS_HEADER))

    @property
    def failed_attempts(self) -> int:
        """Attempts before this one: those counted, and those whose host died, as the broker says in `x-death`.

        What was given back is there as `rejected`, and is no attempt (protocol facts, 7.2).
        """
        deaths = self.headers.get("x-death")
        return self.counted_attempts + sum(map(_expired, deaths if isinstance(deaths, list) else ()))

    @property
    def returned(self) -> bool:
        """True where it has been in somebody's hands before; dead-lettered copies are not marked redelivered."""
        return self.redelivered or self.resumed or "x-death" in self.headers

    def _text(self, name: str) -> str | None:
        value = self.properties.get(name)
        return value if isinstance(value, str) else None


class Taker(Protocol):
    """Who works what is taken. Each call must return at once."""

    @property
    def room(self) -> int:
        """How many runs it could begin at once."""
        ...

    def is_run(self, delivery: Delivery) -> bool:
        """True where it can be understood: it will be worked for a while, and is to be leased."""
        ...

    def on_delivery(self, delivery: Delivery) -> None:
        """A message to work and settle."""
        ...

    def lost(self, delivery: Delivery) -> None:
        """The broker may give it to another worker from now on."""
        ...


def _expired(death: object) -> int:
    match death:
        case {"reason": "expired", "queue": str(queue), "count": count} if LEASES in queue:
            return _count(count)
        case _:
            return 0


def _count(value: object) -> int:
    return min(max(0, value), _MOST) if isinstance(value, int) else 0
