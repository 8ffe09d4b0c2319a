"""`make model`: the protocol's model for MODEL_SECONDS (60), in other orders of events each time.

What is found is made small, and printed as the steps that lead to it. The exit code is 1 then.
"""

from __future__ import annotations

import os
import sys
import time
from random import SystemRandom

import click
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.model_protocol import Protocol

_AT_ONCE = 50  # orders of events, a second or two
_SEARCH = settings(max_examples=_AT_ONCE, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def main() -> int:
    began, tried, random = time.monotonic(), 0, SystemRandom()
    seconds = float(os.environ.get("MODEL_SECONDS", "60"))
    while time.monotonic() < began + seconds:
        try:
            run_state_machine_as_test(seed(random.getrandbits(64))(type("Model", (Protocol,), {})), settings=_SEARCH)
        except Exception as found:  # noqa: BLE001 -- whatever it is, it is what we look for
            sys.excepthook(type(found), found, found.__traceback__)
            return 1
        tried += _AT_ONCE
    click.echo(f"model: {tried} orders of events in {time.monotonic() - began:.0f} s, and nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
