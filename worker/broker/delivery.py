"""One message in our hands, as the broker delivered it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ATTEMPTS_HEADER = "x-codalab-worker-attempts"
"""Attempts at the run that failed for passing reasons; workers of other makes keep headers, so it survives them."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message with its delivery tag. `epoch` counts the channels we had: a tag is good on its own one only.

    `properties` are AMQP's basic properties by their names, without the headers.
    """

    tag: int
    epoch: int
    redelivered: bool
    body: bytes = field(repr=False)
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    properties: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def content_type(self) -> str | None:
        """MIME type of the body, as its publisher says."""
        return self._text("content_type")

    @property
    def content_encoding(self) -> str | None:
        """Character set of the body, as its publisher says."""
        return self._text("content_encoding")

    @property
    def failed_attempts(self) -> int:
        """Attempts that failed before this one; 0 where the header is missing or nonsense."""
        count = self.headers.get(ATTEMPTS_HEADER)
        return max(0, count) if isinstance(count, int) else 0

    def _text(self, name: str) -> str | None:
        value = self.properties.get(name)
        return value if isinstance(value, str) else None
