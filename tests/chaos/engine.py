"""A Docker engine that is restarted under the workers; its data outlive that, its containers do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.own_engine import Bridge
from worker.demo import engine, processes
from worker.demo.places import fresh_folder, run_folder
from worker.demo.processes import Child

_BRIDGE = Bridge("codalab-chaos0", "10.198.10.1/24")
_OPTIONS = (f"--bridge={_BRIDGE.name}", "--iptables=false", "--ip-masq=false")
_GRACE = 30.0  # seconds for an orderly end


class RestartedEngine:
    """The same address after each restart."""

    def __init__(self, folder: Path, data: Path) -> None:
        self._folder, self._data = folder, data
        self.host, self._child = self._start()

    def restart(self) -> None:
        """As a package upgrade does it: with SIGTERM, and the containers with it."""
        processes.stop(self._child, grace=_GRACE)
        self.host, self._child = self._start()

    def end(self) -> None:
        engine.stop_dockerd(self._child, self._folder, self._data)

    def _start(self) -> tuple[str, Child]:
        return engine.start_dockerd(self._folder, self._data, _OPTIONS)


@contextmanager
def restarted_engine() -> Iterator[RestartedEngine]:
    """Has one for a while, without any image, and leaves nothing behind."""
    folder = fresh_folder(run_folder() / _BRIDGE.name)
    with TemporaryDirectory(prefix=f"{_BRIDGE.name}-") as data, _BRIDGE.there():
        own = RestartedEngine(folder, Path(data))
        try:
            yield own
        finally:
            own.end()
            fresh_folder(folder).rmdir()
