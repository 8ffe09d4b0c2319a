"""A second Docker engine that believes it has two NVIDIA GPUs.

The engine's nvidia driver is registered by nothing but an executable named `nvidia-container-runtime-hook` on
its PATH. Ours does what the real one does, as far as a container can see: for each GPU that the container was
given (NVIDIA_VISIBLE_DEVICES) a device node /dev/nvidiaN, and an `nvidia-smi -L` that lists them.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.own_engine import Bridge, own_engine
from worker.demo import engine, images, packages

GPUS = {"0": "GPU-aaaa0000-0000-0000-0000-000000000000", "1": "GPU-bbbb1111-1111-1111-1111-111111111111"}
# Of this process alone: three test files have such an engine, and may be worked side by side.
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
BRIDGE = Bridge(f"codalab-gpu{_NUMBER}", f"10.198.{7 + 20 * _NUMBER}.1/24")
HOOK = Path(__file__).with_name("nvidia_hook.py")


@contextmanager
def gpu_engine(source: str | None = None, tags: Sequence[str] = ()) -> Iterator[str]:
    """Have such an engine for a while; give its docker host. Images in `tags` are copied from `source`."""
    with TemporaryDirectory() as programs, own_engine(BRIDGE, path=_path_with_hook(Path(programs))) as host:
        if source is not None:
            _copy_images(source, host, tags)
        yield host


def _path_with_hook(programs: Path) -> str:
    """Write the hook under the one name that the engine looks for."""
    hook = programs / "nvidia-container-runtime-hook"
    hook.write_text(f"#!{sys.executable} -IS\n{HOOK.read_text()}")
    hook.chmod(0o755)
    return os.pathsep.join((str(programs), packages.SYSTEM_PATH))


def _copy_images(source: str, target: str, tags: Sequence[str]) -> None:
    with closing(engine.connect(source)) as giver, closing(engine.connect(target)) as taker:
        for tag in tags:
            images.copy(giver, taker, tag)
