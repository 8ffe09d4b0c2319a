"""Which messages this worker has in hand, so that a lost connection does not make it work a run twice.

When a connection or a channel is lost, the broker delivers again what was not acknowledged. Work that goes on
then takes the new delivery as its own; work that is over has it acknowledged at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum, auto

from worker.broker.delivery import Delivery
from worker.tools import RunControl

_REMEMBERED = 1000  # ended runs; a redelivery comes within seconds of a reconnect


class Arrival(Enum):
    """What to do with a delivery."""

    NEW = auto()
    ADOPTED = auto()
    """Its run is in work here and has lost the delivery that it came by."""
    DUPLICATE = auto()
    """Its run is in work here, or has ended here: nothing is left to do but acknowledge."""


class InHand:
    """The runs in work, by message id, and the last ones that ended, here or (`ended`) in an earlier process.

    Safe for several threads.
    """

    def __init__(self, ended: Iterable[str] = ()) -> None:
        self._lock = threading.Condition()
        self._working: dict[str, tuple[Delivery, RunControl]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict.fromkeys(ended)

    def arrive(self, message_id: str, delivery: Delivery, control: RunControl) -> Arrival:
        """Notes the delivery, and says what it is."""
        with self._lock:
            if message_id in self._working:
                return self._meet(message_id, delivery)
            if delivery.redelivered and message_id in self._ended:
                return Arrival.DUPLICATE
            self._working[message_id] = (delivery, control)
            return Arrival.NEW

    def leave(self, message_id: str, *, ended: bool) -> Delivery:
        """The run is over (`ended`) or given back; returns the delivery to settle."""
        with self._lock:
            delivery, _control = self._working.pop(message_id)
            self._lock.notify_all()
            if ended:
                self._ended[message_id] = None
                if len(self._ended) > _REMEMBERED:
                    self._ended.popitem(last=False)
            return delivery

    def interrupt_all(self) -> None:
        """Interrupts every run in work."""
        with self._lock:
            controls = [control for _delivery, control in self._working.values()]
        for control in controls:
            control.interrupt()

    def wait_empty(self, timeout: float) -> bool:
        """Waits until nothing is in work, `timeout` seconds at most; says whether it came to that."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._working, timeout)

    def __len__(self) -> int:
        with self._lock:
            return len(self._working)

    def _meet(self, message_id: str, delivery: Delivery) -> Arrival:
        mine, control = self._working[message_id]
        if mine.epoch == delivery.epoch:
            return Arrival.DUPLICATE
        self._working[message_id] = (delivery, control)
        return Arrival.ADOPTED
