"""When a container's processes were really gone: the kernel's word for it, where the engine's comes late."""

from __future__ import annotations

import os
import select
import threading
import time
from concurrent.futures import Future

import docker


def end_of_processes(client: docker.DockerClient, container: str) -> Future[float]:
    """Epoch seconds, as soon as the last process of that running container has ended.

    Its first process is waited for: the kernel lets it end only after all others of its pid namespace.
    """
    ended: Future[float] = Future()
    descriptor = os.pidfd_open(client.api.inspect_container(container)["State"]["Pid"])

    def wait() -> None:
        select.select([descriptor], [], [])
        ended.set_result(time.time())
        os.close(descriptor)

    threading.Thread(target=wait, name="process-end", daemon=True).start()
    return ended
