"""Imports structlog without rich, which it would load for tracebacks in colour: 5 MB in a daemon that draws none."""

from __future__ import annotations

import importlib
import sys


def load_structlog() -> None:
    """To be called before anything imports structlog; rich can be imported afterwards as ever."""
    if "rich" in sys.modules or "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # the documented way to have an import fail
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
