"""Where the parts keep things, how they pick ports, and how they say what they do.

Two folders: the *run* folder is short-lived and short-named (a unix socket's path has 108 bytes at most);
the *cache* holds what is slow to make (packages, modules, images) and may be deleted while nothing runs.
"""

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"


def run_folder() -> Path:
    """Give this user's run folder, made private: what lies there is run and trusted."""
    folder = Path(tempfile.gettempdir()) / f"codalab-parts-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder} is not a private folder of this user: remove it, then try again")
    return folder


def cache_folder(*names: str) -> Path:
    """Give a folder of the cache, made where it is missing."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(root).expanduser().joinpath("codalab-worker", *names)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fresh_folder(folder: Path) -> Path:
    """Empty a folder, or make it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def pick_port(preferred: int) -> int:
    """Take the preferred port, so that addresses stay the same from run to run, or else any free one."""
    for port in (preferred, 0):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(candidate.getsockname()[1])
    raise OSError(f"no free port on {LOOPBACK}")


def say(part: str, sentence: str) -> None:
    """Tell the person at the terminal, on stderr: stdout belongs to the command that uses the parts."""
    print(f"{part}: {sentence}", file=sys.stderr, flush=True)
