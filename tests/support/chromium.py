"""A page as a person sees it, in headless Chromium: its document once its scripts have run, and a picture of it."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from worker.demo import packages

PICTURES = Path(__file__).parents[2] / "test-results"
"""Where pictures stay for whoever looks at a test run afterwards."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PATIENCE = 60.0  # seconds for one page on a busy machine
_NO_COLOUR = 3  # rows that differ, at most, in the compressed form of a picture of one colour


@dataclass(frozen=True)
class Picture:
    """A PNG file, read as far as is needed to tell whether there is anything in it."""

    path: Path

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = struct.unpack(">II", self._header[:8])
        return width, height

    @property
    def is_blank(self) -> bool:
        """True where it is of one colour: then all its rows are alike."""
        rows = zlib.decompress(b"".join(data for kind, data in self._chunks() if kind == b"IDAT"))
        length = len(rows) // self.size[1]
        return len({rows[start : start + length] for start in range(0, len(rows), length)}) <= _NO_COLOUR

    @property
    def _header(self) -> bytes:
        return next(data for kind, data in self._chunks() if kind == b"IHDR")

    def _chunks(self) -> Iterator[tuple[bytes, bytes]]:
        content = self.path.read_bytes()
        assert content.startswith(_SIGNATURE), f"{self.path} is no PNG"
        position = len(_SIGNATURE)
        while position < len(content):
            length, kind = struct.unpack_from(">I4s", content, position)
            yield kind, content[position + 8 : position + 8 + length]
            position += length + 12


@dataclass(frozen=True)
class Page:
    """What was rendered: `document` is the HTML after its scripts have run."""

    document: str
    picture: Picture


def chromium() -> str:
    """The browser, installed where it is missing (Debian's package, as root)."""
    if found := packages.program("chromium"):
        return found
    packages.install(["chromium"])
    return packages.need("chromium", "chromium")


def look_at(url: str, name: str, *, size: tuple[int, int] = (1280, 800), seconds: float = 5.0) -> Page:
    """Opens the page, lets its scripts have that much of their own time, and takes the picture `name`.png."""
    PICTURES.mkdir(exist_ok=True)
    picture = PICTURES / f"{name}.png"
    picture.unlink(missing_ok=True)
    with TemporaryDirectory() as profile:
        options = [
            "--headless=new",
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            f"--virtual-time-budget={round(seconds * 1000)}",
            f"--screenshot={picture}",
            "--dump-dom",
            "--hide-scrollbars",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # its sandbox does not run as root
        ]
        done = subprocess.run(
            [chromium(), *options, url], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    return Page(done.stdout, Picture(picture))
