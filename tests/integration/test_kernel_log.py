"""Lines of a kernel's log, through a FIFO in place of the device; tests/contract has real ones."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sandbox.docker.kernel_log import KernelLog

ID, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
REFUSED = "cgroup: fork rejected by pids controller in "


class Kernel:
    """Its log, and the end at which it writes."""

    def __init__(self, device: Path) -> None:
        os.mkfifo(device)
        self.log = KernelLog(device)
        self._end = os.open(device, os.O_WRONLY)

    def says(self, text: str, prefix: str = "6,1234,56789012,-") -> None:
        os.write(self._end, f"{prefix};{text}\n".encode())

    def close(self) -> None:
        self.log.close()
        os.close(self._end)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with closing(Kernel(tmp_path / "kmsg")) as kernel:
        yield kernel


@pytest.mark.parametrize(
    "group",
    [
        f"/docker/{ID}",
        f"/system.slice/docker-{ID}.scope",
        f"/machine.slice/libpod-{ID}.scope/container",
        f"/docker/{OTHER}/docker/{ID}",
    ],
)
def test_a_group_is_known_by_the_id_in_its_name(kernel: Kernel, group: str) -> None:
    assert not kernel.log.refused(ID)
    kernel.says(f"{REFUSED}{group}")
    assert kernel.log.refused(ID)
    assert not kernel.log.refused(OTHER)


def test_a_line_that_others_cut_in_two_is_put_together(kernel: Kernel) -> None:
    for text in (REFUSED, "docker0: port 1(veth0) entered disabled state", f"/docker/{ID}", f"/docker/{OTHER}"):
        kernel.says(text)
        assert kernel.log.refused(ID) == (ID in text or OTHER in text)
    assert not kernel.log.refused(OTHER)


def test_the_kernel_alone_is_believed(kernel: Kernel) -> None:
    kernel.says(f"{REFUSED}/docker/{ID}", prefix="14,1234,56789012,-")
    assert not kernel.log.refused(ID)


@pytest.mark.parametrize(
    "text",
    [
        f"{REFUSED}/user.slice",
        f"/docker/{ID}",
        f"Memory cgroup stats for /docker/{ID}:",
        f"python3[7]: segfault at 0 ip {REFUSED}/docker/{ID}",
        f"python3\\x0a6,1,1,-;{REFUSED}/docker/{ID}",
    ],
)
def test_other_lines_say_nothing(kernel: Kernel, text: str) -> None:
    kernel.says(text)
    assert not kernel.log.refused(ID)


def test_what_was_overwritten_is_passed_over(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.says(f"{REFUSED}/docker/{ID}")
    breaks = [BrokenPipeError()]
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        if breaks:
            raise breaks.pop()
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", read)
    assert kernel.log.refused(ID)


def test_the_earliest_are_forgotten_first(kernel: Kernel) -> None:
    for number in range(1001):
        kernel.says(f"{REFUSED}/docker/{number:064x}")
        assert kernel.log.refused(f"{number:064x}")
    assert not kernel.log.refused(f"{0:064x}")
    assert kernel.log.refused(f"{1:064x}")


def test_where_it_cannot_be_read_that_is_said_once_and_nobody_was_refused_anything(
    tmp_path: Path,
) -> None:
    with capture_logs() as told, closing(KernelLog(tmp_path / "missing")) as log:
        assert not log.refused(ID)
        assert not log.refused(ID)
    assert [entry["event"] for entry in told] == ["no kernel log, the limit of processes goes untold"]


def test_a_log_that_was_closed_says_nothing(kernel: Kernel) -> None:
    kernel.log.close()
    assert not kernel.log.refused(ID)
