"""Which messages we hold, and what the broker can have done with each meanwhile: state, without any I/O or clock.

A hold begins when a message is delivered to us and ends when it is settled, or lost. In between its copy is in our
hands (it has a delivery tag), or it is *missing*: the connection is gone, and the copy back in the lease queue. A
missing lease is still ours until its trusted time is over; then it is lost, and another worker may have the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from worker.broker.delivery import Delivery, Settlement


@dataclass(slots=True)
class Hold:
    """One message. `tag` is None while it is missing, `trusted_until` None where it is not leased at all.

    `settlement` is what is still to be done with it; `lost` that its run was given up. `vouched` is when the broker
    last said, by giving it to us or since, that it keeps it for us.
    """

    delivery: Delivery
    tag: int | None
    trusted_until: float | None = None
    settlement: Settlement | None = None
    lost: bool = False
    vouched: float = -math.inf

    @property
    def ends(self) -> float:
        """When it is lost; infinite where it is not leased."""
        return math.inf if self.trusted_until is None else self.trusted_until

    @property
    def leased(self) -> bool:
        """False where the message itself is held, unacknowledged, in the queue that it came from."""
        return self.trusted_until is not None


class Ledger:
    """The holds of one worker, by their names. Times are seconds of any clock that only goes forward."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}

    def __len__(self) -> int:
        return len(self._holds)

    def __contains__(self, hold: str) -> bool:
        return hold in self._holds

    def add(self, hold: Hold) -> None:
        """A message has come into our hands."""
        self._holds[hold.delivery.hold] = hold

    def is_held(self, delivery: Delivery) -> bool:
        """True where the broker can give the message to nobody else at this moment."""
        hold = self._holds.get(delivery.hold)
        return bool(hold and hold.tag is not None and not hold.lost)

    def is_sure(self, delivery: Delivery, since: float) -> bool:
        """True where the broker has said so since then, or could not be asked: it is not leased."""
        return not delivery.leased or (self.is_held(delivery) and self._holds[delivery.hold].vouched >= since)

    def settle(self, delivery: Delivery, how: Settlement) -> bool:
        """Notes what is to be done with it; False where it is no longer ours."""
        hold = self._holds.get(delivery.hold)
        if not hold or hold.lost:
            return False
        hold.settlement = how
        return True

    def to_settle(self) -> list[tuple[int, Hold]]:
        """The holds with something to be done, and their tags; those that are missing have to wait."""
        return [(hold.tag, hold) for hold in self._holds.values() if hold.settlement and hold.tag is not None]

    def settled(self, hold: Hold) -> None:
        """It is done."""
        self._holds.pop(hold.delivery.hold, None)

    def to_renew(self) -> list[tuple[int, Hold]]:
        """The leases that are in our hands and to stay there, and their tags."""
        return [
            (hold.tag, hold)
            for hold in self._holds.values()
            if hold.leased and hold.tag is not None and not hold.settlement
        ]

    def renewed(self, holds: Iterable[Hold], trusted_until: float) -> None:
        """Their new copies are in the lease queue, where they are to be fetched from."""
        for hold in holds:
            hold.tag, hold.trusted_until = None, trusted_until

    def fetched(self, name: str, tag: int, now: float) -> bool:
        """The copy of that hold has come into our hands; False where no such copy is waited for."""
        hold = self._holds.get(name)
        if not hold or hold.tag is not None:
            return False
        hold.tag, hold.vouched = tag, now
        return True

    def vouched(self, now: float) -> None:
        """The broker keeps for us all that is in our hands."""
        for hold in self._holds.values():
            if hold.tag is not None:
                hold.vouched = now

    def missing(self) -> list[Hold]:
        """The leases whose copies are not in our hands."""
        return [hold for hold in self._holds.values() if hold.leased and hold.tag is None]

    def leases(self) -> list[Hold]:
        """All of them that are ours still."""
        return [hold for hold in self._holds.values() if hold.leased and not hold.lost]

    def channel_lost(self) -> None:
        """The broker has taken everything back: leases are missing, what was not leased will be delivered again."""
        self._holds = {name: hold for name, hold in self._holds.items() if hold.leased and not hold.lost}
        for hold in self._holds.values():
            hold.tag = None

    def expire(self, now: float, *, missing_only: bool = False) -> list[Hold]:
        """The runs that are lost as of now, each told once; where we hold the copy all the same, it goes back.

        `missing_only` where the broker is known to keep what we hold, though it lets us renew nothing.
        """
        expired = [hold for hold in self._watched(missing_only=missing_only) if hold.ends <= now]
        lost = [hold for hold in expired if not hold.lost and not hold.settlement]
        for hold in expired:
            hold.lost, hold.settlement = True, hold.settlement or Settlement.GIVE_BACK
            if hold.tag is None:
                self.settled(hold)
        return lost

    def next_expiry(self, *, missing_only: bool = False) -> float:
        """When `expire` will have something to do, unless leases are renewed; infinite where never."""
        return min((hold.ends for hold in self._watched(missing_only=missing_only)), default=math.inf)

    def _watched(self, *, missing_only: bool) -> list[Hold]:
        return [hold for hold in self._holds.values() if hold.tag is None or not (hold.lost or missing_only)]
