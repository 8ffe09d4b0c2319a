"""Ends as a site hears them."""

from __future__ import annotations

from dataclasses import dataclass

from worker.broker.updates import Update, read_update


@dataclass(frozen=True, slots=True)
class Telling:
    """A terminal status, and when it came, by the clock of whoever heard it."""

    at: float
    update: Update

    @property
    def teller(self) -> str:
        """The worker's name."""
        metadata = self.update.extra["metadata"]
        assert isinstance(metadata, dict)
        return str(metadata["hostname"])


def telling_of(at: float, body: bytes) -> Telling | None:
    """What a message to the site tells; None where no end is."""
    update = read_update(body)
    assert update, "the site was sent something that is no update"
    return Telling(at, update) if update.terminal else None
