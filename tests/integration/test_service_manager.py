"""sd_notify against a real datagram socket, by path and in the abstract namespace."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from worker.observers import RunEnd, RunEnded, RunInWork
from worker.service_manager import ServiceManager, StatusLine

pytestmark = pytest.mark.integration


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServiceManager, socket.socket]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@{uuid4()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.settimeout(30)
        receiver.bind(name.replace("@", "\0"))
        yield ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"}), receiver


def test_each_word_arrives_as_sent(manager: tuple[ServiceManager, socket.socket]) -> None:
    told, receiver = manager
    told.ready()
    told.alive()
    told.status("waiting for runs")
    told.stopping(90)
    told.reloading()
    messages = [receiver.recv(4096).decode() for _ in range(5)]
    assert messages[:4] == [
        "READY=1", "WATCHDOG=1", "STATUS=waiting for runs", "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000",
    ]  # fmt: skip
    assert messages[4].startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_the_status_line_names_what_is_in_work(manager: tuple[ServiceManager, socket.socket]) -> None:
    told, receiver = manager
    line = StatusLine(told)
    one, two = (RunInWork(f"message-{n}", n, 1, 0.0, 10.0) for n in (17, 18))
    line.run_taken(one)
    line.run_taken(two)
    line.run_stage(one, "scoring")
    line.run_ended(one, RunEnded(RunEnd.FINISHED, 1.0))
    line.run_ended(two, RunEnded(RunEnd.FINISHED, 1.0))
    assert [receiver.recv(4096).decode() for _ in range(5)] == [
        "STATUS=in work: 17 (taken)",
        "STATUS=in work: 17 (taken), 18 (taken)",
        "STATUS=in work: 18 (taken), 17 (scoring)",
        "STATUS=in work: 18 (taken)",
        "STATUS=waiting for runs",
    ]


def test_it_is_alive_twice_in_the_time_that_systemd_waits() -> None:
    asked = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000"}
    assert ServiceManager(asked).period == 15
    assert ServiceManager({**asked, "WATCHDOG_PID": str(os.getpid())}).period == 15
    assert ServiceManager({**asked, "WATCHDOG_PID": "1"}).period is None
    assert ServiceManager({**asked, "WATCHDOG_USEC": "nonsense"}).period is None
    assert ServiceManager({"WATCHDOG_USEC": "30000000"}).period is None


def test_nobody_to_tell_is_no_fault(tmp_path: Path) -> None:
    ServiceManager({}).ready()
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "absent")}).ready()


def test_a_reader_that_does_not_read_holds_nothing_up(manager: tuple[ServiceManager, socket.socket]) -> None:
    for _ in range(10_000):
        manager[0].alive()
