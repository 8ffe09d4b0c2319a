"""What keeps a daemon's start short and its memory small."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def load_structlog() -> None:
    """Imports structlog without rich, which it would load for tracebacks in colour: 5 MB in a daemon that draws none.

    To be called before anything imports structlog; rich can be imported afterwards as ever.
    """
    if "rich" in sys.modules or "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # the documented way to have an import fail
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


@contextmanager
def no_collecting() -> Iterator[None]:
    """For a block that imports much, all of which stays: looking for garbage in it takes a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor is it looked at later
        gc.enable()
