"""What a hostile program tries from inside its container: `probe.py NAME…` prints how each attempt went.

An attempt returns True where it got through, and a wall answers with an OSError; whatever else is raised is a
mistake of the probe's and ends it. Each leaves things as they were, for it is also run where no walls are.
`probe.json` beside this file says what there is to be found on the host.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
HOST = json.loads((Path(__file__).parent / "probe.json").read_text())
CANARY = b"canary" + b"-of-"  # in two halves, or it would find itself
NEW_NAMESPACES = 0x00020000 | 0x10000000  # mount and user
REMOUNT = 32
SYSLOG_READ_ALL, PTRACE_ATTACH, PTRACE_DETACH = 3, 16, 17
KEYCTL, BPF, PERF_EVENT_OPEN = 250, 321, 298  # system calls of x86-64
SKIPPED = ("/proc", "/sys", "/dev")


def check(result: int) -> bool:
    """As libc tells it: -1 and errno is a wall."""
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return True


def connects(family: int, address: tuple[str, int] | str) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.settimeout(2)
        return tried.connect_ex(address) == 0


def same_again(path: str) -> bool:
    """Writes into a switch of the kernel's what it holds already."""
    switch = Path(path)
    return switch.write_text(switch.read_text()) > 0


def mount() -> bool:
    place = Path("/tmp/mounted")
    place.mkdir(exist_ok=True)
    return check(LIBC.mount(b"none", b"/tmp/mounted", b"tmpfs", 0, None))


def remount_input() -> bool:
    return check(LIBC.mount(None, b"/mnt/in", None, REMOUNT | 4096, None))


def write_input() -> bool:
    place = Path("/mnt/in/evil")
    place.write_text("evil")
    place.unlink()
    return True


def unshare() -> bool:
    child = os.fork()  # whoever gets there is nobody outside of them
    if child == 0:
        os._exit(LIBC.unshare(NEW_NAMESPACES) & 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def mknod_disk() -> bool:
    os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(*HOST["disk"]))
    Path("/tmp/disk").unlink()
    return True


def release_agent() -> bool:
    """A cgroup of one's own whose last process has the host run a program."""
    Path("/tmp/cgroup").mkdir(exist_ok=True)
    if LIBC.mount(b"cgroup2", b"/tmp/cgroup", b"cgroup2", 0, None) == 0:
        return True
    return check(LIBC.mount(b"cgroup", b"/tmp/cgroup", b"cgroup", 0, b"memory"))


def open_by_handle() -> bool:
    """Any file of the host's file system, by its inode number (known as shocker)."""

    class Handle(ctypes.Structure):
        _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_char * 128))

    handle, mount_id = Handle(128), ctypes.c_int()
    check(LIBC.name_to_handle_at(-100, b"/mnt/in/probe.json", ctypes.byref(handle), ctypes.byref(mount_id), 0))
    folder = os.open("/mnt/in", os.O_RDONLY)
    return check(LIBC.open_by_handle_at(folder, ctypes.byref(handle), os.O_RDONLY))


def setuid_program() -> bool:
    """A program of the image that is root's, and setuid: whoever starts it would be root."""
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:  # where no walls are
            os.setgroups([])
            os.setgid(1000)
            os.setuid(1000)
        os.execv(  # noqa: S606 - no shell is wanted
            "/root-python", ["root-python", "-c", "import os, sys; sys.exit(3 if os.geteuid() == 0 else 0)"]
        )
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def keyring() -> bool:
    return check(LIBC.syscall(KEYCTL, 0, -3, 1))


def bpf() -> bool:
    return check(LIBC.syscall(BPF, 0, ctypes.create_string_buffer(b"\1\0\0\0\4\0\0\0\4\0\0\0\1", 72), 72))


def trace_all() -> bool:
    attributes = ctypes.create_string_buffer((1).to_bytes(4, "little") + (120).to_bytes(4, "little"), 120)
    return check(LIBC.syscall(PERF_EVENT_OPEN, attributes, -1, 0, -1, 0))


def kernel_log() -> bool:
    return check(LIBC.klogctl(SYSLOG_READ_ALL, ctypes.create_string_buffer(64), 64))


def kernel_memory() -> bool:
    """And what else the engine hides of /proc."""
    hidden = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug")
    return any(len(Path(path).open("rb").read(64)) > 0 for path in hidden if Path(path).exists())


def proc_sys() -> bool:
    return same_again("/proc/sys/vm/swappiness")


def core_pattern() -> bool:
    return same_again("/proc/sys/kernel/core_pattern")


def sys_write() -> bool:
    LIBC.mount(None, b"/sys", None, REMOUNT, None)
    return same_again("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan")


def host_name() -> bool:
    name = os.uname().nodename.encode()
    return check(LIBC.sethostname(name, len(name)))


def true_host_name() -> bool:
    return HOST["hostname"] in (os.uname().nodename, socket.gethostname(), Path("/etc/hostname").read_text().strip())


def engine_socket() -> bool:
    return any(connects(socket.AF_UNIX, path) for path in HOST["engine_sockets"] if Path(path).exists())


def abstract_socket() -> bool:
    return connects(socket.AF_UNIX, "\0" + HOST["abstract_socket"])


def bridge() -> bool:
    return connects(socket.AF_INET, (HOST["bridge"], HOST["port"]))


def loopback() -> bool:
    return connects(socket.AF_INET, ("127.0.0.1", HOST["port"]))


def other_container() -> bool:
    return connects(socket.AF_INET, (HOST["container"], 8000))


def cloud_metadata() -> bool:
    return is_sent_to("169.254.169.254", 80)


def dns() -> bool:
    return is_sent_to("192.0.2.53", 53)


def is_sent_to(address: str, port: int) -> bool:
    """Whether a packet finds a way; that nobody answers is no wall."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as question:
        question.connect((address, port))
        return question.send(bytes(12)) > 0


def raw_packets() -> bool:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW).detach() > 0


def see_processes() -> bool:
    """Others than this container's few."""
    others = [path for path in Path("/proc").iterdir() if path.name.isdigit() and b"dockerd" in read(path / "cmdline")]
    return bool(others)


def signal_processes() -> bool:
    os.kill(HOST["process"], 0)
    return True


def trace_processes() -> bool:
    check(LIBC.ptrace(PTRACE_ATTACH, HOST["process"], None, None))
    check(LIBC.waitpid(HOST["process"], None, 0))
    return check(LIBC.ptrace(PTRACE_DETACH, HOST["process"], None, None))


def other_runs() -> bool:
    return any(Path(HOST["runs"]).iterdir())


def canaries() -> bool:
    """Anything that is secret, in any file or environment within reach; what is found is printed."""
    found = [CANARY + text.split(CANARY, 1)[1][:40] for text in map(read, within_reach()) if CANARY in text]
    print(*{text.decode(errors="replace") for text in found}, sep="\n", file=sys.stderr)
    return bool(found)


def within_reach() -> Iterator[Path]:
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if str(Path(folder, name)) not in SKIPPED]
        yield from (Path(folder, name) for name in names if Path(folder, name).is_file())
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            yield from (process / name for name in ("environ", "cmdline", "mountinfo"))


def read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""


def attempt(tried: Callable[[], bool]) -> str:
    try:
        return "breached" if tried() else "held"
    except OSError as wall:
        print(tried.__name__, wall, file=sys.stderr)
        return "held"


for name in sys.argv[1:]:
    print(name, attempt(globals()[name]), flush=True)
