"""Our claim on one run: asked of the broker before the site is told an end.

An end that is told while the run is no longer ours would be one of two. So the broker has to have said, just before,
that it keeps the run's message for us. While it cannot be asked, the end waits: the lease is in hand again, or lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from worker.broker.delivery import Delivery
from worker.broker.shared_ledger import SharedLedger

_log = structlog.get_logger(__name__)


class Claim:
    """`which` gives the delivery that the run has now; `ask` has the broker asked; both return at once.

    The broker's word is good for `lasts` seconds. Where runs are not leased it is not asked, and every claim is sure.
    """

    def __init__(
        self, ledger: SharedLedger, which: Callable[[], Delivery], ask: Callable[[], None], *, lasts: float
    ) -> None:
        self._ledger = ledger
        self._which = which
        self._ask = ask
        self._lasts = lasts

    @property
    def is_sure(self) -> bool:
        """True while the broker's word is good; may be asked on any thread."""
        return self._ledger.is_sure(self._which(), time.monotonic() - self._lasts)

    def wait(self, given_up: Callable[[], bool]) -> bool:
        """Waits for the broker's word; False where it was `given_up` while the message was not in our hands.

        Whoever makes `given_up` true calls `wake`. Not to be called on the link's thread.
        """
        since = time.monotonic()
        if not self._ledger.is_held(self._which()):
            _log.info("the end of a run waits until its lease is in hand again")
        self._ask()
        self._ledger.wait_for(lambda: self._said(since) or (given_up() and not self._ledger.is_held(self._which())))
        return self._said(since)

    def wake(self) -> None:
        """Has `wait` look whether it was given up."""
        self._ledger.tell()

    def _said(self, since: float) -> bool:
        return self._ledger.is_sure(self._which(), since)
