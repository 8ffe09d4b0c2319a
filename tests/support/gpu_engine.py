"""A second Docker engine that believes it has two NVIDIA GPUs.

The engine's nvidia driver is registered by nothing but an executable named `nvidia-container-runtime-hook` on
its PATH. Ours does what the real one does, as far as a container can see: for each GPU that the container was
given (NVIDIA_VISIBLE_DEVICES) a device node /dev/nvidiaN, and an `nvidia-smi -L` that lists them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from worker.demo import engine, images, packages
from worker.demo.places import fresh_folder, run_folder

GPUS = {"0": "GPU-aaaa0000-0000-0000-0000-000000000000", "1": "GPU-bbbb1111-1111-1111-1111-111111111111"}
BRIDGE = "codalab-gpu0"
SUBNET = "10.198.7.1/24"
NO_FIREWALL = (f"--bridge={BRIDGE}", "--iptables=false", "--ip-masq=false")
HOOK = Path(__file__).with_name("nvidia_hook.py")


@contextmanager
def gpu_engine(source: str | None = None, tags: Sequence[str] = ()) -> Iterator[str]:
    """Have such an engine for a while; give its docker host. Images in `tags` are copied from `source`."""
    folder = fresh_folder(run_folder() / "gpu")
    with _bridge():
        host, child = engine.start_dockerd(folder, folder / "data", NO_FIREWALL, path=_path_with_hook(folder))
        try:
            if source is not None:
                _copy_images(source, host, tags)
            yield host
        finally:
            engine.stop_dockerd(child, folder, folder / "data")
            fresh_folder(folder).rmdir()


def _path_with_hook(folder: Path) -> str:
    """Write the hook under the one name that the engine looks for."""
    programs = folder / "bin"
    programs.mkdir()
    hook = programs / "nvidia-container-runtime-hook"
    hook.write_text(f"#!{sys.executable} -IS\n{HOOK.read_text()}")
    hook.chmod(0o755)
    return os.pathsep.join((str(programs), packages.SYSTEM_PATH))


@contextmanager
def _bridge() -> Iterator[None]:
    """Have a bridge of its own: an engine without one would delete the docker0 of the engine beside it."""
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", SUBNET, "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "del", BRIDGE], check=True)


def _copy_images(source: str, target: str, tags: Sequence[str]) -> None:
    with closing(engine.connect(source)) as giver, closing(engine.connect(target)) as taker:
        for tag in tags:
            images.copy(giver, taker, tag)
