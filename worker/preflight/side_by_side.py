"""Runs checks side by side; one that hangs or breaks is a line of its own, and stops no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from config.settings import Settings
from worker.preflight.lines import Check, CheckLine, failed

_log = structlog.get_logger(__name__)


def run_checks(checks: Sequence[Check], settings: Settings, *, patience: float) -> list[CheckLine]:
    """The lines of all checks, in the order of `checks`, after `patience` seconds at the latest."""
    looks = [_Look(check, settings) for check in checks]
    for look in looks:
        look.thread.start()
    deadline = time.monotonic() + patience
    return [line for look in looks for line in look.lines(deadline, patience)]


class _Look:
    """One check under way, on a thread that may outlive us: a call that hangs cannot be ended from outside."""

    def __init__(self, check: Check, settings: Settings) -> None:
        self.thread = threading.Thread(target=self._run, name=f"check-{check.name}", daemon=True)
        self._check = check
        self._settings = settings
        self._found: list[CheckLine] = []

    def lines(self, deadline: float, patience: float) -> list[CheckLine]:
        """What it found by the deadline."""
        self.thread.join(max(0.0, deadline - time.monotonic()))
        found = list(self._found)
        if self.thread.is_alive():
            found.append(
                failed(
                    self._check.name,
                    f"no answer within {patience:g} s",
                    "See whether something on the way drops packets (a firewall, a proxy), then check again.",
                )
            )
        return found

    def _run(self) -> None:
        try:
            for line in self._check.look(self._settings):
                self._found.append(line)
        except Exception as error:  # noqa: BLE001 -- a bug of one check must not hide what the others found
            _log.exception("check broke", check=self._check.name)
            name = type(error).__name__
            self._found.append(
                failed(self._check.name, f"the check itself broke: {name}", "Report this, with the log above.")
            )
