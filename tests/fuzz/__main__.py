"""`make fuzz`: every reader of what strangers send, each for FUZZ_SECONDS (20).

python -m tests.fuzz [TARGET …]         all targets, or those named
python -m tests.fuzz TARGET=BASE64      one input again: what a find prints
"""

from __future__ import annotations

import base64
import os
import resource
import sys
import traceback

from tests.fuzz.campaign import Find, attempt, fuzz
from tests.fuzz.targets import TARGETS

_MEMORY = 2 << 30  # bytes of this process: an input that makes a reader want more is a find


def main(arguments: list[str]) -> int:
    """Exit code 1 where anything was found."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    seconds = float(os.environ.get("FUZZ_SECONDS", "20"))
    return max([_one(argument, seconds) for argument in arguments or list(TARGETS)])


def _one(argument: str, seconds: float) -> int:
    name, equals, encoded = argument.partition("=")
    if name not in TARGETS:
        sys.exit(f"fuzz: there is no target {name}; there are {', '.join(TARGETS)}")
    if equals:
        return _tell(name, attempt(TARGETS[name], base64.b64decode(encoded)))
    campaign = fuzz(TARGETS[name], seconds)
    print(f"fuzz: {name}: {campaign.tried} inputs in {campaign.seconds:.0f} s", flush=True)
    return _tell(name, campaign.find)


def _tell(name: str, find: Find | None) -> int:
    if find is None:
        return 0
    traceback.print_exception(find.error)
    print(f"fuzz: {name}: found with {find.data[:200]!r}; again by")
    print(f"  python -m tests.fuzz {name}={base64.b64encode(find.data).decode()}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
