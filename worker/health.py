"""`python -m worker.health`: is the worker of this environment well? Exit code 0 or 1, and why on stdout.

The HEALTHCHECK of the container images. With WORKER_METRICS the worker itself is asked; without it, well means
that it has got as far as holding its temp dir and is still there, which a container that restarts is not.
"""

from __future__ import annotations

import http.client
import sys
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from config.load import SettingsError, load

_PATIENCE = 5.0  # seconds, below the HEALTHCHECK's own time-out
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}  # noqa: S104 -- what to ask, not to bind


def main() -> int:
    """Prints one sentence, and gives the exit code."""
    try:
        settings = load().settings
    except SettingsError as error:
        print(f"The settings cannot be used: {error}")  # noqa: T201 -- the engine keeps it for `docker inspect`
        return 1
    sick = _unwell(settings.worker_metrics) if settings.worker_metrics else _absent(settings.submission_temp_dir)
    print(sick or "The worker is well.")  # noqa: T201 -- likewise
    return 1 if sick else 0


def _unwell(address: str) -> str:
    """Why /healthz at that `host:port` is not content; empty where it is."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(_EVERY_ADDRESS.get(host, host.strip("[]")), int(port), timeout=_PATIENCE)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"The worker does not answer at {address}/healthz: {error}"
    finally:
        connection.close()
    return "" if status == HTTPStatus.OK else f"The worker says that it is not well: HTTP {status}."


def _absent(temp_dir: Path) -> str:
    """Why no worker holds that temp dir; empty where one does.

    The lock itself is not tried: a worker that starts at that moment would find it taken.
    """
    lock = temp_dir / "worker.lock"
    with suppress(OSError, ValueError):
        holder = int(lock.read_text(encoding="ascii"))
        if any(file.samefile(lock) for file in Path(f"/proc/{holder}/fd").iterdir()):
            return ""
    return f"No worker holds {temp_dir}: it has not started yet, or could not; its log says why."


if __name__ == "__main__":
    sys.exit(main())
