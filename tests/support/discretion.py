"""What must never be read in anything that a worker leaves, whichever test it worked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

# A SAS signature as the store makes them, plain or percent-encoded, and the secrets of `tests.support.competition`.
# Each begins with plain letters and is looked for by itself: in a big blob that takes a fiftieth of the time.
_SECRETS = (re.compile(rb"sig(?:=|%3D)[A-Za-z0-9%+/]{40}"), re.compile(rb"secret-of-[0-9]{13}"))
_LEAST = 12  # letters of a password that is looked for; shorter ones are words


def check_text(where: str, data: bytes) -> None:
    assert not any(secret.search(data) for secret in _SECRETS), where


def check_log(log: Path, settings: Mapping[str, str]) -> None:
    """Nothing of the broker's password either."""
    data = log.read_bytes()
    check_text(str(log), data)
    password = urlsplit(settings.get("BROKER_URL", "")).password or ""
    assert len(password) < _LEAST or password.encode() not in data, log
