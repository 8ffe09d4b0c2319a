"""A second Docker engine, set up in a way that the shared one is not; it leaves nothing behind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from worker.demo import engine, packages
from worker.demo.places import fresh_folder, run_folder


@dataclass(frozen=True)
class Bridge:
    """Of its own: an engine without one would delete the docker0 of the engine beside it."""

    name: str
    address: str
    """With the length of the network's prefix: 10.198.8.1/24."""

    @contextmanager
    def there(self) -> Iterator[None]:
        subprocess.run(["ip", "link", "del", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "add", self.name, "type", "bridge"], check=True)
        try:
            subprocess.run(["ip", "addr", "add", self.address, "dev", self.name], check=True)
            subprocess.run(["ip", "link", "set", self.name, "up"], check=True)
            yield
        finally:
            subprocess.run(["ip", "link", "del", self.name], check=True)


@contextmanager
def own_engine(
    bridge: Bridge, options: Sequence[str] = (), *, path: str = packages.SYSTEM_PATH, within: Sequence[str] = ()
) -> Iterator[str]:
    """Have one for a while, without any image; give its docker host. Its firewall rules are left to others."""
    folder = fresh_folder(run_folder() / bridge.name)
    network = (f"--bridge={bridge.name}", "--iptables=false", "--ip-masq=false")
    with TemporaryDirectory(prefix=f"{bridge.name}-") as data, bridge.there():
        Path(data).chmod(0o711)  # a remapped root is somebody else, who must get through
        host, child = engine.start_dockerd(folder, Path(data), (*network, *options), path=path, within=within)
        try:
            yield host
        finally:
            engine.stop_dockerd(child, folder, Path(data))
            fresh_folder(folder).rmdir()


def programs_folder(folder: Path, **scripts: str) -> Path:
    """Write shell scripts, each under its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in scripts.items():
        place = folder / name
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)
    return folder
