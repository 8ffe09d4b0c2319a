"""Files of an image that the engine itself reads at a start, looked at before that: a FIFO would hold it up."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

from docker.errors import APIError

from sandbox.docker.client import EngineClient

_READ_AT_START = ("/etc/passwd", "/etc/group")
_STAT = "X-Docker-Container-Path-Stat"
# Bits of Go's os.FileMode, which the engine tells: a symbolic link, and what a read may wait for.
_LINK = 1 << 27
_DEVICE, _FIFO, _SOCKET, _CHARACTERS, _OTHER = 1 << 26, 1 << 25, 1 << 24, 1 << 21, 1 << 19
_HOLDS_UP = _DEVICE | _FIFO | _SOCKET | _CHARACTERS | _OTHER
_LONGEST_CHAIN = 40  # links, as in Linux


def obstacle(api: EngineClient, container: str) -> str:
    """The first of those files that is a FIFO, device or socket, through links too; empty where there is none.

    A folder does no harm, nor does a file that is missing. Raises the SDK's own exceptions.
    """
    return next((path for path in _READ_AT_START if _mode(api, container, path) & _HOLDS_UP), "")


def _mode(api: EngineClient, container: str, path: str) -> int:
    for _ in range(_LONGEST_CHAIN):
        with suppress(APIError):  # missing, or links that lead nowhere: the start will tell
            answer = api.ask("HEAD", "/containers/{0}/archive", container, path=path)
            found = json.loads(base64.b64decode(answer.headers[_STAT]))
            if found["mode"] & _LINK:
                path = found["linkTarget"]
                continue
            return int(found["mode"])
        return 0
    return 0
