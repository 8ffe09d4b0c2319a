"""What can go wrong between the worker and a signed-URL store.

    TransferError
    ├── UrlRefused        the store, or the URL itself, will say no again: lasting
    ├── StoreUnavailable  no answer, 5xx, 408, 429, resets, or too slow, after all retries: passing
    └── TooLarge          more bytes than the caller allowed

Messages name host and path, never a query: that is where the signature is. No exception of requests or
urllib3 hangs on to these (`__cause__`, `__context__`), because their texts hold whole URLs.
"""

from __future__ import annotations

from protocol.urls import SignedUrl


class TransferError(Exception):
    """A transfer that did not come about; the message is fit for the operator's log."""

    def __init__(self, where: SignedUrl | str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason = reason


class UrlRefused(TransferError):
    """The store refused the URL: expired (401, 403), missing (404, 410), or otherwise no good.

    `status` is the HTTP status, None where the URL was bad enough that nobody was asked.
    """

    def __init__(self, where: SignedUrl | str, reason: str, *, status: int | None = None) -> None:
        super().__init__(where, reason)
        self.status = status


class StoreUnavailable(TransferError):
    """The store did not answer as it should, for as long as it was worth trying."""


class TooLarge(TransferError):
    """The store has more than `limit` bytes to give."""

    def __init__(self, where: SignedUrl | str, limit: int) -> None:
        super().__init__(where, f"larger than {limit} bytes")
        self.limit = limit
