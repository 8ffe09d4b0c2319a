"""Which messages this worker has in hand, so that no lost connection makes it work a run twice.

When a connection or a channel is lost, the broker may deliver again what was not settled. Work that goes on then
takes the new delivery as its own; work that is over has it acknowledged at once. Where a lease was lost the run may
come back, too, while its first container is still being killed: the new work waits for the end of the old.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import takewhile

from worker.broker.delivery import Delivery
from worker.kept.remembered import Remembered
from worker.observers import RunInWork
from worker.run_control import Interruption, RunControl

_REMEMBERED = 1000  # ended runs; a redelivery comes within seconds of a reconnect


class Arrival(Enum):
    """What to do with a delivery."""

    NEW = auto()
    ADOPTED = auto()
    """Its run is in work here and has lost the delivery that it came by."""
    DUPLICATE = auto()
    """Its run is in work here, or has ended here: nothing is left to do but acknowledge."""


@dataclass(slots=True, eq=False)
class Held:
    """A run in hand: the delivery that it came by last, what interrupts it, and what others may know of it."""

    delivery: Delivery
    control: RunControl
    run: RunInWork
    computed: bool = False
    """Its containers have ended: what is left to do takes no slot."""


class InHand:
    """The runs in work, by message id, and the last ones that ended, here or (`ended`) in an earlier process.

    Safe for several threads. `is_held` tells whether a delivery is surely still ours to settle.
    """

    def __init__(self, is_held: Callable[[Delivery], bool], *, ended: Iterable[str] = ()) -> None:
        self._is_held = is_held
        self._lock = threading.Condition()
        self._working: dict[str, Held] = {}
        self._lost: list[Held] = []
        self._over: set[Held] = set()
        self._ended = Remembered(_REMEMBERED)
        for message_id in ended:
            self._ended.add(message_id)

    def arrive(self, held: Held) -> tuple[Arrival, Delivery | None]:
        """Notes the delivery; says what it is, and which delivery there is now one too many of, to be acknowledged."""
        with self._lock:
            mine = self._working.get(held.run.message_id)
            if mine is None:
                return self._first(held)
            if self._is_held(mine.delivery):
                return Arrival.DUPLICATE, held.delivery
            former, mine.delivery = mine.delivery, held.delivery
            return Arrival.ADOPTED, former

    def begin(self, held: Held) -> None:
        """Waits until no work on the same run is left that was lost earlier: its containers are about to go."""
        with self._lock:
            self._lock.wait_for(lambda: self._comes_first(held))

    def computed(self, held: Held) -> None:
        """Its containers have ended: its slot is another's."""
        with self._lock:
            held.computed = True

    def leave(self, held: Held, *, ended: bool) -> Delivery | None:
        """The run is over (`ended`) or given back; returns the delivery to settle, None where it was lost."""
        with self._lock:
            self._lock.notify_all()
            self._over.add(held)
            if held in self._lost:
                self._lost.remove(held)
                return None
            del self._working[held.run.message_id]
            if ended:
                self._ended.add(held.run.message_id)
            return held.delivery

    def gone(self, held: Held) -> None:
        """Nothing is left any more of a run that is over."""
        with self._lock:
            self._over.discard(held)
            self._lock.notify_all()

    def lose(self, delivery: Delivery) -> None:
        """The broker gives that run to another worker: its work here is ended, and settles nothing."""
        with self._lock:
            held = next((one for one in self._working.values() if one.delivery.hold == delivery.hold), None)
            if held is None:
                return
            del self._working[held.run.message_id]
            self._lost.append(held)
        held.control.interrupt(Interruption.LOST)

    def interrupt(self, message_id: str, reason: Interruption) -> bool:
        """Interrupts that run; says whether it is in work."""
        with self._lock:
            held = self._working.get(message_id)
        if held:
            held.control.interrupt(reason)
        return held is not None

    def interrupt_all(self) -> None:
        """Interrupts every run in work, to be given back."""
        with self._lock:
            working = list(self._working.values())
        for held in working:
            held.control.interrupt(Interruption.GIVEN_BACK)

    def runs(self) -> tuple[RunInWork, ...]:
        """Those in work."""
        with self._lock:
            return tuple(held.run for held in self._working.values())

    def wait_empty(self, timeout: float) -> bool:
        """Waits until nothing is in work or left of what was, `timeout` seconds at most; whether it came to that."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._threads(), timeout)

    @property
    def in_slots(self) -> int:
        """Those that compute, or will: lost ones count until their containers are gone."""
        with self._lock:
            return sum(not held.computed for held in (*self._working.values(), *self._lost))

    @property
    def threads(self) -> int:
        """Those in work, and those that are over of which something is left still: each has a thread."""
        with self._lock:
            return self._threads()

    def __len__(self) -> int:
        with self._lock:
            return len(self._working) + len(self._lost)

    def _threads(self) -> int:
        return len(self._working) + len(self._lost) + len(self._over)

    def _comes_first(self, held: Held) -> bool:
        """Whoever is lost before its turn has come waits for the others all the same, but never for itself."""
        earlier = takewhile(lambda lost: lost is not held, self._lost)
        return all(lost.run.message_id != held.run.message_id for lost in earlier)

    def _first(self, held: Held) -> tuple[Arrival, Delivery | None]:
        if held.delivery.returned and held.run.message_id in self._ended:
            return Arrival.DUPLICATE, held.delivery
        self._working[held.run.message_id] = held
        return Arrival.NEW, None
