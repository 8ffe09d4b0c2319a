from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from worker import health
from worker.kept.folders import TempDir


@pytest.fixture(autouse=True)
def temp_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("WORKER_", "SUBMISSION_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SUBMISSION_TEMP_DIR", str(tmp_path / "temp"))
    return tmp_path / "temp"


def test_well_while_the_temp_dir_is_held(temp_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main() == 1
    assert "No worker holds" in capsys.readouterr().out
    with closing(TempDir(temp_dir)):
        assert health.main() == 0
    assert health.main() == 1  # the file is still there, and still names this living process


def test_looking_takes_no_lock_from_a_worker_that_starts(temp_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(TempDir(temp_dir)):
        monkeypatch.delattr(fcntl, "flock")
        assert health.main() == 0


@pytest.mark.parametrize("noise", [b"", b"not a number", b"999999999\n", b"\xff"])
def test_a_lock_that_names_nobody_is_no_error(temp_dir: Path, noise: bytes) -> None:
    temp_dir.mkdir()
    (temp_dir / "worker.lock").write_bytes(noise)
    assert health.main() == 1


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_with_metrics_the_worker_itself_is_asked(monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    with answering(status) as port:
        for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 -- nothing is bound to it
            monkeypatch.setenv("WORKER_METRICS", f"{host}:{port}")
            assert health.main() == code


def test_no_answer_is_not_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200) as port:
        pass
    monkeypatch.setenv("WORKER_METRICS", f"127.0.0.1:{port}")
    assert health.main() == 1
    assert "does not answer" in capsys.readouterr().out


def test_settings_that_cannot_be_used_are_named_without_their_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKER_CONCURRENCY", "many")
    assert health.main() == 1
    said = capsys.readouterr().out
    assert "WORKER_CONCURRENCY" in said
    assert "many" not in said


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A worker's health page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 418)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()
