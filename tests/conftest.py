from __future__ import annotations

import gc
import os

import structlog
from hypothesis import HealthCheck, settings

# A few examples each for every day, always the same ones; many now and then: HYPOTHESIS_PROFILE=fuzz make unit
# How fast they are drawn says nothing on a machine that stalls.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("steady"), max_examples=10, derandomize=True)
settings.register_profile("fuzz", settings.get_profile("steady"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# What is imported and collected lives to the end, and need not be looked through for garbage again and again.
gc.set_threshold(50_000)


def pytest_collection_finish() -> None:
    gc.freeze()


# Rich draws a traceback in 0.1 s, and nobody looks at it.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
