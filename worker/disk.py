"""A disk without room is the platform's trouble, and may pass: told apart from bugs."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from protocol.faults import PassingFault

_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: OSError) -> bool:
    """Whether the disk, or what of it we may use, has no room (bytes or files) left."""
    return error.errno in _FULL


@contextmanager
def room_needed() -> Iterator[None]:
    """Raises `PassingFault` in place of an `OSError` that says that the disk is full."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise PassingFault("The platform's worker has no room left on its disk.", detail=str(error)) from error
