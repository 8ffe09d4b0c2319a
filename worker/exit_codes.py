"""What the process's exit code says; the README has the same table."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0
    RUN_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    """Broker, engine or storage cannot be reached, or `check` found something that fails."""
    TEMP_DIR_TAKEN = 4
    """Another worker holds this temp dir."""
