"""The protocol with one part of it broken: the model must see each of these, or it sees too little.

Each is what a wrong line of the worker's code would do, put in its place while a block lasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import PropertyMock, patch

from protocol.status import State
from worker.broker import lease_terms
from worker.broker.delivery import Delivery, Settlement
from worker.kept.journal_record import Terminal
from worker.runs.attempt import Attempt, make_attempt
from worker.runs.in_hand import Arrival, Held

Swaps = Sequence[tuple[int, Delivery]]


def published_then_acknowledged(channel: Any, swaps: Swaps) -> None:
    channel.restore([delivery for _tag, delivery in swaps])
    for tag, _delivery in swaps:
        channel.drop_copy(tag)
    channel.commit()


def acknowledged_then_published(channel: Any, swaps: Swaps) -> None:
    for tag, _delivery in swaps:
        channel.drop_copy(tag)
    channel.commit()
    channel.restore([delivery for _tag, delivery in swaps])


def published_and_not_acknowledged(channel: Any, swaps: Swaps) -> None:
    channel.restore([delivery for _tag, delivery in swaps])


def acknowledged_before_told(request: Any, held: Held, tools: Any, *others: Any, cancelled: bool) -> Attempt:
    worker = tools.updates
    worker.consumer.settle(held.delivery, Settlement.ACK)
    worker.link.run()
    return make_attempt(request, held, tools, *others, cancelled=cancelled)


def noted_after_told(reporter: Any, state: State, traceback: str = "") -> State:
    terminal = Terminal(state, reporter._metadata(ended=True), traceback)
    told: State = reporter._tell(terminal)
    if reporter._journal:
        reporter._journal.note(terminal=terminal, durable=True)
        reporter._journal.confirmed()
    return told


def not_counted(delivery: Delivery) -> dict[str, object]:
    return lease_terms._copy(delivery, {})


def always_new(in_hand: Any, held: Held) -> tuple[Arrival, Delivery | None]:
    in_hand._working[held.run.message_id] = held
    return Arrival.NEW, None


MUTATIONS: Mapping[str, Mapping[str, Any]] = {
    "a lease is published, then the original acknowledged": {
        "worker.broker.run_channel.RunChannel.lease": published_then_acknowledged,
    },
    "the original is acknowledged, then a lease published": {
        "worker.broker.run_channel.RunChannel.lease": acknowledged_then_published,
    },
    "a lease is renewed and the old one kept": {
        "worker.broker.run_channel.RunChannel.lease": published_and_not_acknowledged,
    },
    "the next message is taken before a slot is free": {
        "worker.broker.run_channel.RunChannel.stop_consuming": lambda _: None,
    },
    "a message is acknowledged before the end is confirmed": {
        "worker.runs.handling.make_attempt": acknowledged_before_told,
    },
    "the end is noted in the journal when it was told": {
        "worker.runs.reporting.Reporter._end": noted_after_told,
    },
    "the confirm is not noted in the journal": {"worker.kept.journal.RunJournal.confirmed": lambda _: None},
    "the end is told whatever has become of the lease": {
        "worker.broker.claim.Claim.wait": lambda *_: True,
        "worker.broker.claim.Claim.is_sure": True,
    },
    "a lease that is lost is not noticed": {"worker.broker.ledger.Ledger.expire": lambda *_, **__: []},
    "a lease is trusted for longer than the broker keeps it": {
        "worker.broker.lease_terms.LeaseTerms.trusted": PropertyMock(return_value=100.0),
    },
    "failed attempts are not counted": {"worker.broker.run_channel.retry_copy": not_counted},
    "lost hosts are not counted": {"worker.broker.delivery._expired": lambda _: 0},
    "a message that is in work or done is worked again": {"worker.runs.in_hand.InHand.arrive": always_new},
}


def broken(name: str) -> ExitStack:
    """While it is open, the protocol has that mutation."""
    stack = ExitStack()
    for place, instead in MUTATIONS[name].items():
        stack.enter_context(patch(place, instead))
    return stack
