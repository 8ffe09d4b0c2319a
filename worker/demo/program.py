"""What all programs that need the parts do at their end: a sentence for what could not be had, and an exit code."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from worker.demo.processes import PartsError

_INTERRUPTED = 130  # as a shell tells of Ctrl-C


def run_program(name: str, main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run `main` with the command line's arguments, and exit with what it returns."""
    try:
        sys.exit(main(sys.argv[1:]))
    except PartsError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
