"""In place of a worker's threads: what each of them does happens when the model says so, in one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pika.exceptions import AMQPError

from tests.support.model_broker import ModelBroker, ModelConnection
from worker.broker.lease_watch import look
from worker.broker.link import LinkDownError

T = TypeVar("T")


class StillWaitingError(BaseException):
    """A slot waits for what no thread of its worker brings about now: the model has it wait again later."""


class ModelCondition(threading.Condition):
    """Whoever waits has the link's thread run meanwhile."""

    meanwhile: Callable[[], None]

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:  # noqa: ARG002 -- none is given
        if not predicate():
            self.meanwhile()
        if not (found := predicate()):
            raise StillWaitingError
        return found


class ModelLink:
    """In place of the link with its thread: what is called on it happens when the model says so."""

    def __init__(self, _settings: object, owner: Any, **_: object) -> None:
        self.owner = owner
        self.connection: ModelConnection | None = None
        self._called: list[Callable[[], None]] = []

    def start(self) -> None:
        """The model connects."""

    def call(self, work: Callable[[], None]) -> None:
        if self.connection is None:
            raise LinkDownError
        self._called.append(work)

    def connect(self, broker: ModelBroker) -> None:
        self.connection = ModelConnection(broker)
        self.run()

    def run(self) -> None:
        """What the thread does when it wakes."""
        if self.connection is None:
            return
        try:
            self._run(self.connection)
        except AMQPError:
            self.lose()
            return
        if not self.connection.is_open:
            self.lose()

    def lose(self) -> None:
        if self.connection:
            self.connection.drop()
            self.connection, self._called = None, []
            self.owner.on_disconnected()

    def _run(self, connection: ModelConnection) -> None:
        if self.owner._connection is None:
            self.owner.on_connected(connection)
        connection.run_timers()
        while self._called:
            self._called.pop(0)()
        connection.deliver()
        self.owner.on_events()
        connection.deliver()


class ModelWatch:
    """In place of the watch with its thread."""

    def __init__(self, holding: Any, *, on_lost: Callable[[Any], None]) -> None:
        self.holding = holding
        self._on_lost = on_lost

    def start(self) -> None:
        """The model looks."""

    def look(self, now: float) -> None:
        lost, _ = look(self.holding, now)
        for delivery in lost:
            self._on_lost(delivery)


class ModelPool:
    """In place of the slots: what they were given, until the model has one do it."""

    def __init__(self, _slots: int, **_: object) -> None:
        self.begun: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def submit(self, work: Callable[..., None], *args: Any) -> None:
        self.begun.append((work, args))
