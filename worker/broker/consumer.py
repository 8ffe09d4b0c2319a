"""Intake: takes run messages from the queue while a slot is free, and settles each when its run has ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import structlog
from pika.adapters.blocking_connection import BlockingConnection

from worker.broker.claim import Claim
from worker.broker.connection import ConnectionParameters, ensure_queue
from worker.broker.delivery import Delivery, Settlement, Taker
from worker.broker.holding import Holding
from worker.broker.lease_terms import LeaseTerms
from worker.broker.lease_watch import LeaseWatch
from worker.broker.link import AmqpLink, LinkDownError
from worker.counters import NO_COUNTERS, Counters

_SETTLING, _FAREWELL = 5.0, 1.0  # seconds that the end waits for the broker, with something to settle and without

_log = structlog.get_logger(__name__)


class Consumer:
    """Takes messages for `slots` runs at a time, on terms that say for how long each is ours.

    Where they are leased, `beside` more may be in hand of runs that need no slot any more.
    `on_ready` is called on the link's thread whenever messages can come (again), with whether they are leased: what
    was ours before is in hand again by then.
    """

    def __init__(
        self,
        settings: ConnectionParameters,
        terms: LeaseTerms,
        *,
        slots: int,
        beside: int = 0,
        on_refused: Callable[[str], None],
        on_ready: Callable[[bool], None] = lambda _leased: None,
        counters: Counters = NO_COUNTERS,
    ) -> None:
        self._queue = terms.queue
        self._on_ready = on_ready
        self._slots = slots
        self._holding = Holding(terms, slots=slots, beside=beside, counters=counters)
        self._counters = counters
        self._connection: BlockingConnection | None = None
        self._link = AmqpLink(settings, self, name="intake", on_refused=on_refused, counters=counters)
        self._watch = LeaseWatch(self._holding, on_lost=self._lost)

    @property
    def is_connected(self) -> bool:
        """True while there is a connection, as far as is known."""
        return self._link.is_up

    @property
    def leases(self) -> int:
        """Leases held."""
        return len(self._holding.ledger.leases())

    def start(self, taker: Taker) -> None:
        """Begins to connect, then to take."""
        self._holding.taker = taker
        self._watch.start()
        self._link.start()

    def close(self) -> None:
        """Ends the connection, after what is to be settled; what is still held returns to the queue by itself."""
        self._watch.close()
        settling = self._holding.ledger.to_settle()
        self._link.close(timeout=_SETTLING if settling else _FAREWELL)

    def stop_taking(self) -> None:
        """Takes nothing new; what is in hand is renewed, and can be settled."""
        self._holding.taking = False
        self._call("stop taking", self._close_intake)

    def pause(self) -> None:
        """Takes nothing new until `resume`, whatever else begins or ends meanwhile."""
        self._holding.paused = True
        with suppress(LinkDownError):  # the next connection finds it so
            self._link.call(self._close_intake)

    def resume(self) -> None:
        """Takes again while a slot is free, unless it has stopped taking."""
        self._holding.paused = False
        self.look_again()

    def look_again(self) -> None:
        """Takes again where there is room that was not there before."""
        with suppress(LinkDownError):  # the next connection finds it so
            self._link.call(self.on_events)

    def settle(self, delivery: Delivery, how: Settlement) -> None:
        """Settles it as soon as there is a connection; one that is no longer ours will be delivered again."""
        if self._holding.ledger.note(delivery, how):
            self._call(how.name, self._holding.settle)
        else:
            _log.info("the broker has taken the message back; it will be delivered again", action=how.name)

    def is_held(self, delivery: Delivery) -> bool:
        """True where the broker can give it to nobody else at this moment."""
        return self._holding.ledger.is_held(delivery)

    def claim(self, which: Callable[[], Delivery]) -> Claim:
        """Our claim on the run that has the delivery which `which` gives."""
        return Claim(self._holding.ledger, which, self._ask, lasts=self._holding.terms.margin)

    def on_connected(self, connection: BlockingConnection) -> None:
        """Looks at the queue, and takes in hand what is still ours."""
        ensure_queue(connection, self._queue)
        self._connection = connection
        self._holding.connected(connection)
        self._on_ready(self._holding.leasing)

    def on_disconnected(self) -> None:
        """Nothing can be renewed or settled until there is another connection."""
        self._connection = None
        self._holding.disconnected()

    def on_blocked(self, *, blocked: bool) -> None:
        """Of interest to whoever watches the time."""
        self._holding.blocked(blocked=blocked)

    def on_events(self) -> None:
        """Takes anew where the broker closed our channel or ended our consumer, or where a slot has fallen idle."""
        channel = self._holding.channel
        if not channel or not self._connection:
            return
        if not channel.is_open:
            _log.warning("the broker closed the intake channel; what was in hand is taken up again")
            self._holding.open_channel()
        self._holding.settle()  # what was asked for while there was no connection, or only half of one
        if self._holding.has_room:
            self._open_intake(self._connection)

    def _open_intake(self, connection: BlockingConnection) -> None:
        """With leases one message at a time: each is acknowledged before its run begins."""
        channel = self._holding.channel
        if not channel or channel.consuming:
            return
        if channel.was_consuming:
            _log.warning("the queue was deleted, with what was waiting in it; taking from it anew", queue=self._queue)
            ensure_queue(connection, self._queue)
        channel.consume(self._holding.take, prefetch=1 if self._holding.leasing else self._slots)

    def _close_intake(self) -> None:
        channel = self._holding.channel
        if channel and channel.is_open:
            channel.stop_consuming()
            channel.commit()  # what was delivered but not yet handed out goes back

    def _lost(self, delivery: Delivery) -> None:
        """On the watch's thread. A copy that we hold all the same goes back, should the connection be alive."""
        self._counters.lease_lost()
        if self._holding.taker:
            self._holding.taker.lost(delivery)
        self._call("give back what was lost", self._holding.settle)

    def _ask(self) -> None:
        with suppress(LinkDownError):  # what the next connection finds in the lease queue is the broker's word, too
            self._link.call(self._holding.ask)

    def _call(self, how: str, work: Callable[[], None]) -> None:
        try:
            self._link.call(work)
        except LinkDownError:
            _log.info("no broker connection; it waits for the next", action=how)
