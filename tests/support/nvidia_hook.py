"""The stand-in `nvidia-container-runtime-hook prestart`: run by runc, the container's state on stdin."""

import json
import subprocess
import sys
from pathlib import Path

# The inventory of this "host": index -> UUID. Kept equal to tests.support.gpu_engine.GPUS by a test.
INVENTORY = {"0": "GPU-aaaa0000-0000-0000-0000-000000000000", "1": "GPU-bbbb1111-1111-1111-1111-111111111111"}

# Character device 1:3 is /dev/null, which every container may open.
INSERT = 'mknod -m 666 "$0/dev/nvidia$1" c 1 3'
NVIDIA_SMI = "#!/bin/sh\ncat <<'END'\n{lines}\nEND\n"


def visible(wanted: str) -> list[str]:
    """Turn NVIDIA_VISIBLE_DEVICES into indices of the inventory; an unknown one fails the start."""
    if wanted in ("", "void", "none"):
        return []
    if wanted == "all":
        return list(INVENTORY)
    by_uuid = {uuid: index for index, uuid in INVENTORY.items()}
    indices = [by_uuid.get(name, name) for name in wanted.split(",")]
    for index in indices:
        if index not in INVENTORY:
            sys.exit(f"nvidia-container-cli: device error: {index}: unknown device")
    return indices


def main() -> None:
    """Give the container its GPUs."""
    state = json.load(sys.stdin)
    config = json.loads(Path(state["bundle"], "config.json").read_text())
    env = dict(entry.partition("=")[::2] for entry in config["process"]["env"])
    root = config["root"]["path"]
    indices = visible(env.get("NVIDIA_VISIBLE_DEVICES", ""))
    for index in indices:
        inside(state["pid"], ["sh", "-c", INSERT, root, index])
    lines = "\n".join(f"GPU {index}: Stand-in GPU (UUID: {INVENTORY[index]})" for index in indices)
    script = NVIDIA_SMI.format(lines=lines or "No devices were found")
    write = 'cat > "$0/usr/bin/nvidia-smi" && chmod 755 "$0/usr/bin/nvidia-smi"'
    inside(state["pid"], ["sh", "-c", write, root], script)


def inside(pid: int, argv: list[str], text: str = "") -> None:
    """Run a command in the container's mount namespace, where its root file system is mounted already."""
    subprocess.run(["nsenter", "-t", str(pid), "-m", *argv], input=text, text=True, check=True)


if __name__ == "__main__":
    main()
