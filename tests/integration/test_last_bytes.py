"""A disk that is full a few bytes before a file's end: nobody may take what is there for the whole."""

from __future__ import annotations

import errno
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from protocol.urls import SignedUrl
from sandbox.usage import Usage
from sandbox.wall import raise_wall, take_down
from worker.archives.copying import copy_folder
from worker.archives.unpack import ArchiveLimits, unpack
from worker.storage.transfer import Transfers

MISSING = 1000  # bytes of room


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    raise_wall(tmp_path, [place], Usage(1 << 20, 100))
    yield place
    take_down(tmp_path)


@pytest.fixture
def source(tmp_path: Path, disk: Path) -> Path:
    """A folder with one file that has hardly no room on the disk."""
    folder = tmp_path / "source"
    folder.mkdir()
    state = os.statvfs(disk)
    (folder / "file").write_bytes(os.urandom(state.f_bavail * state.f_frsize + MISSING))
    return folder


def by_unpacking(source: Path, disk: Path) -> None:
    archive = source.with_name("file.zip")
    with zipfile.ZipFile(archive, "w") as target:
        target.write(source / "file", "file")
    unpack(archive, disk / "out", limits=ArchiveLimits(1 << 30, 100))


def by_copying(source: Path, disk: Path) -> None:
    (disk / "out").mkdir()
    copy_folder(source, disk / "out")


def by_downloading(source: Path, disk: Path) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(source))) as server,
        Transfers() as transfers,
    ):
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            url = SignedUrl(f"http://127.0.0.1:{server.server_port}/file")
            transfers.download(url, disk / "file", deadline=60)
        finally:
            server.shutdown()


@pytest.mark.parametrize("moved", [by_unpacking, by_copying, by_downloading])
def test_a_file_that_lacks_its_last_bytes_is_no_file(
    source: Path, disk: Path, moved: Callable[[Path, Path], None]
) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        moved(source, disk)
    assert caught.value.errno == errno.ENOSPC
