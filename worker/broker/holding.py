"""Messages in our hands: taken, leased, renewed, found again after a lost connection, settled.

What is known of them is in the `SharedLedger`, and what is done on the wire is the `RunChannel`'s; here is what follows
from what. All of it is on the link's thread, but for what says otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import structlog
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from worker.broker.delivery import Settlement, Taker
from worker.broker.lease_terms import RETURNED_WITHIN, LeaseTerms
from worker.broker.ledger import Hold
from worker.broker.queues import ExpiringQueues
from worker.broker.run_channel import Received, RunChannel
from worker.broker.shared_ledger import SharedLedger
from worker.counters import NO_COUNTERS, Counters

_NOT_FOUND = 404
_LATE_ACK = (
    "a run that takes longer than the broker's consumer timeout (30 minutes, unless it is set otherwise) is given "
    "to another worker as well, and so is one whose connection is lost"
)

_log = structlog.get_logger(__name__)


class Holding:
    """What one worker holds, by its `ledger`."""

    def __init__(self, terms: LeaseTerms, *, slots: int, beside: int = 0, counters: Counters = NO_COUNTERS) -> None:
        self.taker: Taker | None = None
        self.ledger = SharedLedger()
        self.leasing = bool(terms.ttl)
        self.taking = True
        self.paused = False
        self.terms = terms
        self._slots = slots
        self._beside = beside
        self._counters = counters
        self._queues = ExpiringQueues()
        self._unblocked_at = -math.inf  # when the broker took messages from us again; math.inf while it takes none
        self._search_until: float | None = None  # leases of an earlier process may come back until then
        self._connection: BlockingConnection | None = None
        self.channel: RunChannel | None = None

    @property
    def has_room(self) -> bool:
        """True while another message may be taken, and its run would not have to wait.

        Without leases what was in work here before comes back this way, too, and room must not be asked for.
        """
        return self.has_slot and not self.paused and (not self.leasing or self._the_taker.room > 0)

    @property
    def has_slot(self) -> bool:
        """True while one may be taken up again that was in work here before."""
        return self.taking and len(self.ledger) < self._most

    @property
    def _most(self) -> int:
        """Messages in hand; without leases no more are to be than can be begun at once."""
        return self._slots + self._beside if self.leasing else self._slots

    def connected(self, connection: BlockingConnection) -> None:
        """Finds out whether there can be leases, and has the channel that everything happens on."""
        self._connection = connection
        self.leasing = bool(self.terms.ttl) and self._queues.may_have(connection, self.terms.lease_queue)
        if self._search_until is None:
            self._search_until = time.monotonic() + min(self.terms.ttl, RETURNED_WITHIN)
        if not self.leasing:
            _log.warning("runs are not leased, but acknowledged when they have ended", cost=_LATE_ACK)
        self.open_channel()
        if self.leasing:
            connection.call_later(self.terms.period, self._renew_in_time)

    def blocked(self, *, blocked: bool) -> None:
        """The broker takes nothing from us, or does again: a publish that it kept waiting is as of now."""
        self._unblocked_at = math.inf if blocked else time.monotonic()
        self.ledger.tell()

    @property
    def spared_until(self) -> float:
        """Until then no lease in our hands is lost: the broker takes nothing, or has only just begun to again."""
        return self._unblocked_at + self.terms.period

    def disconnected(self) -> None:
        """Leases are missing from now on; they are ours as long as they can be trusted."""
        self._unblocked_at = -math.inf
        self._connection = self.channel = None
        self.ledger.channel_lost()

    def open_channel(self) -> None:
        """A channel anew, and everything in hand again that is still ours."""
        self._make_channel()
        self._take_in_hand_again()
        self.settle()

    def take(self, received: Received, *, resumed: bool = False) -> None:
        """A message has come: it is leased where it can be, and handed out."""
        delivery = replace(received.delivery, hold=uuid4().hex, resumed=resumed)
        if not (self.leasing and self._the_taker.is_run(delivery)):
            self._add(Hold(delivery, received.tag))
            return
        delivery = replace(delivery, leased=True)
        if len(self.ledger) + 1 >= self._most or self._the_taker.room <= 1:  # before the commit sends the next
            self._the_channel.stop_consuming()
        until = self._trusted_after(lambda channel: channel.lease([(received.tag, delivery)]))
        self._add(Hold(delivery, None, until))
        self._fetch()

    def settle(self) -> None:
        """Does what the ledger says is to be done."""
        due = self.ledger.to_settle()
        if any(hold.leased and hold.settlement is Settlement.GIVE_BACK for _tag, hold in due):
            self._fetch(look=True)  # in a lease queue that somebody has deleted it would be rejected into nothing
            due = self.ledger.to_settle()
        if not due:
            return
        for tag, hold in due:
            self._the_channel.settle(tag, hold)
        self._the_channel.commit()
        self.ledger.settled([hold for _tag, hold in due])

    def ask(self) -> None:
        """Has the broker say that it keeps for us what is in our hands: whoever is to answer has the channel still."""
        if self.channel and self.channel.is_open:
            began = time.monotonic()
            self.channel.commit()
            self.ledger.vouched(began)

    @property
    def _the_taker(self) -> Taker:
        assert self.taker  # noqa: S101 -- nothing is taken before it is known for whom
        return self.taker

    @property
    def _the_channel(self) -> RunChannel:
        assert self.channel  # noqa: S101 -- nothing happens on the link's thread before `connected`
        return self.channel

    def _make_channel(self) -> None:
        assert self._connection  # noqa: S101 -- `connected` came first
        self.ledger.channel_lost()
        self.channel = RunChannel(self._connection, self.terms, self._queues)

    def _add(self, hold: Hold) -> None:
        self.ledger.add(hold)
        self._the_taker.on_delivery(hold.delivery)

    def _trusted_after(self, publish: Callable[[RunChannel], None]) -> float:
        """Publishes; says until when that is surely ours.

        The broker's clock on it cannot have begun before it was sent, nor before the broker took anything at all.
        """
        began = time.monotonic()
        publish(self._the_channel)
        since = began if self._unblocked_at == math.inf else max(began, self._unblocked_at)
        return since + self.terms.trusted

    def _renew_in_time(self) -> None:
        if self._connection and self.channel and self.channel.is_open:
            self._connection.call_later(self.terms.period, self._renew_in_time)
            self._renew()

    def _renew(self) -> None:
        due = self.ledger.to_renew()
        if due:
            swaps = [(tag, hold.delivery) for tag, hold in due]
            self._renewed([hold for _tag, hold in due], self._trusted_after(lambda channel: channel.lease(swaps)))
            self._counters.leases_renewed(len(due))

    def _renewed(self, holds: list[Hold], until: float) -> None:
        self.ledger.renewed(holds, until)
        self._fetch()

    def _fetch(self, *, look: bool = False) -> None:
        """Takes the copies in hand that were just put into the lease queue; or may `look` what there is."""
        strays = []
        try:
            while (look or self.ledger.misses_some()) and (copy := self._the_channel.fetch()):
                if not self._attach(copy):
                    strays.append(copy)
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            self._restore()
        for stray in strays:
            self._take_stray(stray)

    def _take_in_hand_again(self) -> None:
        """What the lease queue holds: leases that were missing, and, after a start, those of an earlier life."""
        if not self.leasing or not self._connection or not self.channel or not self.channel.is_open:
            return
        self._queues.declare(self._connection, self.terms.lease_queue)  # somebody may have deleted it meanwhile
        strays, missed = [], self.ledger.misses_some()
        while copy := self.channel.fetch():
            if not self._attach(copy):
                strays.append(copy)
        self._renew()
        if missed and not self.ledger.misses_some():
            _log.info("the leases of the runs in work are in hand again")
        for stray in strays:
            self._take_stray(stray)
        if self.ledger.misses_some() or self._searches:
            # The broker may not have noticed yet that our last connection is gone. A consumer would be told when
            # it has, but would also be sent the copies that renewals fetch.
            self._connection.call_later(self.terms.period / 4, self._take_in_hand_again)

    @property
    def _searches(self) -> bool:
        return self._search_until is not None and time.monotonic() < self._search_until

    def _attach(self, copy: Received) -> bool:
        if self.ledger.fetched(copy.lease, copy.tag, time.monotonic()):
            return True
        known = self.ledger.knows(copy.lease)
        if known:  # a broker that was killed may have both the old copy and the new one
            self._the_channel.drop_copy(copy.tag)
            self._the_channel.commit()
        return known

    def _take_stray(self, copy: Received) -> None:
        if self.has_slot:
            _log.info("found a run that this worker had in work before")
            self.take(copy, resumed=True)
        else:
            self._the_channel.return_copy(copy.tag)
            self._the_channel.commit()

    def _restore(self) -> None:
        """Somebody deleted the lease queue, and with it all copies but those in our memory."""
        _log.error("the lease queue was deleted; the messages of the runs in work are put into it anew")
        self._make_channel()
        leases = self.ledger.leases()
        deliveries = [hold.delivery for hold in leases]
        self._renewed(leases, self._trusted_after(lambda channel: channel.restore(deliveries)))
