"""Archives that would fill the disk or the memory: what they cost is measured, which takes its time."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from sandbox.logs import size
from worker.archives.unpack import ArchiveLimits, BadArchive, unpack

MIB = 1 << 20
LIMIT = 4 * MIB


def bomb(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("zeros", bytes(3 * LIMIT))
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_bombs_stop_at_the_limit_in_little_memory(tmp_path: Path, method: int) -> None:
    archive, target = tmp_path / "a.zip", tmp_path / "out"
    archive.write_bytes(bomb(method))
    tracemalloc.start()
    with pytest.raises(BadArchive) as refused:
        unpack(archive, target, limits=ArchiveLimits(bytes=LIMIT, entries=10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.reason == f"unpacks to more than {size(LIMIT)}"
    assert peak < 10 * MIB  # LZMA has a dictionary of 8 MiB
    assert not target.exists()
