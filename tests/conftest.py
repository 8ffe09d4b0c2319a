from __future__ import annotations

import gc
import os

import structlog
from hypothesis import settings

# A few examples each for every day, always the same ones; many now and then: HYPOTHESIS_PROFILE=fuzz make unit
settings.register_profile("quick", max_examples=10, deadline=None, derandomize=True)
settings.register_profile("fuzz", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# What is imported and collected lives to the end, and need not be looked through for garbage again and again.
gc.set_threshold(50_000)


def pytest_collection_finish() -> None:
    gc.freeze()


# Rich draws a traceback in 0.1 s, and nobody looks at it.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
