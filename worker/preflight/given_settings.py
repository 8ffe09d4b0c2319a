"""The settings themselves: faults, old names, and a file that others may read."""

from __future__ import annotations

import stat
from pathlib import Path

from config.load import Loaded
from worker import compose
from worker.preflight.lines import CheckLine, failed, ok, warning
from worker.set_up import SetUpError

_NAME = "settings"


def fault_lines(error: Exception) -> list[CheckLine]:
    """A line for each setting that cannot be used."""
    mend = "codalab-worker config --example shows every setting"
    return [failed(_NAME, line, mend) for line in str(error).splitlines()]


def settings_lines(loaded: Loaded) -> list[CheckLine]:
    """What is worth a word of settings that can be read."""
    lines = [warning(_NAME, text, "Change it in the environment or the .env file.") for text in loaded.warnings]
    lines += _open_files(loaded)
    try:
        compose.broker(loaded.settings)
    except SetUpError as error:
        lines.append(failed(_NAME, str(error), "Correct BROKER_URL and BROKER_SSL_CA."))
        return lines
    given = sum(origin != "default" for origin in loaded.origins.values())
    return [*lines, ok(_NAME, f"{given} given, {len(loaded.origins) - given} defaults")]


def _open_files(loaded: Loaded) -> list[CheckLine]:
    """The file that the broker's password comes from."""
    origin = loaded.origins["BROKER_URL"]
    file = Path(origin)
    if origin in {"default", "environment"} or not file.is_file():
        return []
    if not file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    return [warning(_NAME, f"{file} holds a password, and others on this host may read it", f"chmod 600 {file}")]
