"""A while in a fleet's life: how the broker and the workers were before it and after it, and what that comes to."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.fleet.hosts import Usage
from tests.fleet.readings import Reading

SITE = "site"


@dataclass(frozen=True, slots=True)
class Mark:
    """Broker and workers (always in the same order) at a moment; `at` is seconds of the monotonic clock."""

    broker: Reading
    used: Sequence[Usage]
    at: float


@dataclass(frozen=True, slots=True)
class Span:
    """From one mark to another."""

    begin: Mark
    end: Mark

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end.at - self.begin.at

    def messages(self, by: float) -> dict[str, dict[str, float]]:
        """By link and kind, divided by that."""
        return _grown(self.begin.broker.messages, self.end.broker.messages, by)

    def octets(self, by: float) -> dict[str, dict[str, float]]:
        """Likewise: in to the broker, and out of it."""
        return _grown(self.begin.broker.octets, self.end.broker.octets, by)

    @property
    def broker_cpu(self) -> float:
        """Seconds, without those that the readings at its ends took."""
        return self.end.broker.cpu_before - self.begin.broker.cpu

    @property
    def worker_cpu(self) -> float:
        """Seconds of all workers."""
        return sum(later.cpu - before.cpu for before, later in zip(self.begin.used, self.end.used, strict=True))

    @property
    def resident(self) -> float:
        """Of the middle worker, at the end."""
        return float(statistics.median(usage.resident for usage in self.end.used))

    @property
    def proportional(self) -> float:
        """Likewise, with what workers of one machine have in common shared out among them."""
        return float(statistics.median(usage.proportional for usage in self.end.used))


def explained(before: Reading, after: Reading, by: int) -> dict[str, int]:
    """What the broker uses its memory for more than before, divided by that."""
    more = {use: size - before.memory_by_use.get(use, 0) for use, size in after.memory_by_use.items()}
    return {use: round(size / by) for use, size in more.items() if size}


def _grown(
    before: Mapping[str, Counter[str]], after: Mapping[str, Counter[str]], by: float
) -> dict[str, dict[str, float]]:
    """What has not grown is left out."""
    found: dict[str, dict[str, float]] = {}
    for link, counter in sorted(after.items()):
        more = {what: count - before.get(link, Counter())[what] for what, count in counter.items()}
        found[link] = {what: count / by for what, count in more.items() if count}
    return found
