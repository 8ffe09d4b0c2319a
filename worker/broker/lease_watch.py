"""Tells when a lease is lost, whatever the connection does meanwhile."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import structlog

from worker.broker.delivery import Delivery
from worker.broker.holding import Holding

_log = structlog.get_logger(__name__)


class LeaseWatch:
    """A thread of its own, for the link's may be waiting for a broker that does not answer.

    While the broker says that it takes nothing from us, it keeps what we hold: only what is missing can be lost then.
    """

    def __init__(self, holding: Holding, *, on_lost: Callable[[Delivery], None]) -> None:
        self._holding = holding
        self._on_lost = on_lost
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="lease-watch", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        with self._holding.ledger.changed:
            self._closed = True
            self._holding.ledger.changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            for delivery in self._wait():
                _log.error("lease lost, it could not be renewed in time, and another worker may have the run")
                self._on_lost(delivery)

    def _wait(self) -> list[Delivery]:
        """Returns when leases are lost, or something has changed."""
        changed = self._holding.ledger.changed
        with changed:
            if self._closed:
                return []
            lost, again = look(self._holding, time.monotonic())
            if not lost:
                changed.wait(None if again == math.inf else again)
            return lost


def look(holding: Holding, now: float) -> tuple[list[Delivery], float]:
    """What is lost as of `now`, each told once, and in how many seconds there may be more; with the ledger held."""
    ledger, spared_until = holding.ledger.inside, holding.spared_until
    spared = now < spared_until
    lost = ledger.expire(now, missing_only=spared)
    soonest = min(ledger.next_expiry(missing_only=spared), spared_until if spared else math.inf)
    return [hold.delivery for hold in lost], max(0.0, soonest - now)
