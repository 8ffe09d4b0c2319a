"""The ledger as threads share it: the link's, the lease watch's, the slots' and those that publish."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from worker.broker.delivery import Delivery, Settlement
from worker.broker.ledger import Hold, Ledger


class SharedLedger:
    """Every call is safe from any thread. `changed` guards what `inside` knows, and is notified of what may matter."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside = Ledger()

    def __len__(self) -> int:
        with self.changed:
            return len(self.inside)

    def tell(self) -> None:
        """Something that others wait for may be so now."""
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Until that is so; it is asked whenever something has changed, with the ledger held."""
        with self.changed:
            self.changed.wait_for(is_so)

    def add(self, hold: Hold) -> None:
        """A message has come into our hands."""
        with self.changed:
            self.inside.add(hold)
            self.changed.notify_all()

    def note(self, delivery: Delivery, how: Settlement) -> bool:
        """What is to be done with it; False where it is no longer ours."""
        with self.changed:
            self.changed.notify_all()
            return self.inside.settle(delivery, how)

    def to_settle(self) -> list[tuple[int, Hold]]:
        """The holds with something to be done that can be done now, and their tags."""
        with self.changed:
            return self.inside.to_settle()

    def settled(self, holds: Sequence[Hold]) -> None:
        """It is done."""
        with self.changed:
            for hold in holds:
                self.inside.settled(hold)

    def to_renew(self) -> list[tuple[int, Hold]]:
        """The leases to be renewed, and their tags."""
        with self.changed:
            return self.inside.to_renew()

    def renewed(self, holds: Sequence[Hold], trusted_until: float) -> None:
        """Their new copies are in the lease queue."""
        with self.changed:
            self.inside.renewed(holds, trusted_until)
            self.changed.notify_all()

    def fetched(self, name: str, tag: int, now: float) -> bool:
        """The copy of that hold has come into our hands; False where no such copy is waited for."""
        with self.changed:
            self.changed.notify_all()
            return self.inside.fetched(name, tag, now)

    def knows(self, name: str) -> bool:
        """True where there is such a hold."""
        with self.changed:
            return name in self.inside

    def vouched(self, now: float) -> None:
        """The broker has said, at `now` at the earliest, that it keeps for us all that is in our hands."""
        with self.changed:
            self.inside.vouched(now)
            self.changed.notify_all()

    def is_held(self, delivery: Delivery) -> bool:
        """True where the broker can give it to nobody else at this moment."""
        with self.changed:
            return self.inside.is_held(delivery)

    def is_sure(self, delivery: Delivery, since: float) -> bool:
        """True where the broker has said so since then, or could not be asked: it is not leased."""
        with self.changed:
            return self.inside.is_sure(delivery, since)

    def leases(self) -> list[Hold]:
        """All of them that are ours still."""
        with self.changed:
            return self.inside.leases()

    def misses_some(self) -> bool:
        """True where leases are ours whose copies are not in our hands."""
        with self.changed:
            return bool(self.inside.missing())

    def channel_lost(self) -> None:
        """The broker has taken everything back."""
        with self.changed:
            self.inside.channel_lost()
            self.changed.notify_all()
