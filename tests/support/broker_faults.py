"""What an administrator of the broker can do to a queue owner's worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import quote, urlsplit

from tests.support.rabbit import Management, Owner


def close_connections(management: Management, owner: Owner) -> None:
    """Has the broker close all that are open in the name of that owner."""
    management.delete(f"connections/username/{user(owner)}")


@contextmanager
def shut_out(management: Management, owner: Owner, vhost: str) -> Iterator[None]:
    """The owner may not connect to that vhost meanwhile; whoever was connected is thrown out."""
    permission = f"permissions/{quote(vhost, safe='')}/{user(owner)}"
    granted = cast("dict[str, object]", management.get(permission))
    management.delete(permission)
    close_connections(management, owner)
    yield
    management.put(permission, {kind: granted[kind] for kind in ("configure", "write", "read")})


def user(owner: Owner) -> str:
    return urlsplit(owner.broker_url).username or ""
