"""Transfers against Azurite, with real shared access signatures."""

from __future__ import annotations

import hashlib
import os
import resource
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.urls import SignedUrl
from worker.demo.blobs import BlobStore, Permissions
from worker.demo.parts import Parts
from worker.storage.errors import UrlRefused
from worker.storage.transfer import Transfers
from worker.storage.version import Version

pytestmark = pytest.mark.integration

LARGE = 300 * 1024 * 1024


@pytest.fixture(scope="module")
def store() -> BlobStore:
    return BlobStore(Parts.from_environment().blob_endpoint)


def signed(store: BlobStore, name: str, permissions: Permissions = "r", expires_in: float = 600) -> SignedUrl:
    return SignedUrl(store.url(name, permissions, expires_in))


@pytest.fixture
def container(store: BlobStore) -> Iterator[str]:
    name = f"transfer-{uuid.uuid4().hex[:12]}"
    store.make_container(name)
    yield name
    store.delete_container(name)


@pytest.fixture
def transfers() -> Iterator[Transfers]:
    with Transfers(first_wait=0.05, block_threshold=1_000_000) as made:
        yield made


@pytest.mark.parametrize("size", [0, 1, 999_999, 1_000_001, 9_000_000])
def test_what_goes_up_comes_down(
    store: BlobStore, container: str, transfers: Transfers, tmp_path: Path, size: int
) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    name = f"{container}/a folder/ü+&.zip"
    transfers.upload(signed(store, name, "cw"), tmp_path / "source", content_type="application/zip", deadline=60)
    assert transfers.download(signed(store, name), tmp_path / "target", deadline=60) == size
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


def test_a_blob_can_be_written_again_and_again(
    store: BlobStore, container: str, transfers: Transfers, tmp_path: Path
) -> None:
    url = signed(store, f"{container}/stdout.txt", "cw")
    for size in (10, 2_000_000, 20):
        (tmp_path / "log").write_bytes(b"x" * size)
        transfers.upload(url, tmp_path / "log", content_type="text/plain", deadline=60)
        assert len(store.get(f"{container}/stdout.txt")) == size


@pytest.mark.parametrize(("permissions", "expires_in"), [("r", 60), ("cw", -60)])
def test_a_signature_that_does_not_allow_it_is_refused(
    store: BlobStore,
    container: str,
    transfers: Transfers,
    tmp_path: Path,
    permissions: Permissions,
    expires_in: float,
) -> None:
    (tmp_path / "source").write_bytes(os.urandom(3_000_000))
    url = signed(store, f"{container}/x", permissions, expires_in)
    with pytest.raises(UrlRefused) as caught:
        transfers.upload(url, tmp_path / "source", content_type="text/plain", deadline=60)
    assert caught.value.status == 403
    assert "sig" not in str(caught.value)


def test_a_missing_blob_is_refused(store: BlobStore, container: str, transfers: Transfers, tmp_path: Path) -> None:
    with pytest.raises(UrlRefused) as caught:
        transfers.download(signed(store, f"{container}/never"), tmp_path / "x", deadline=60)
    assert caught.value.status == 404


def test_three_hundred_megabytes_in_little_memory(store: BlobStore, container: str, tmp_path: Path) -> None:
    block = os.urandom(1024 * 1024)
    with (tmp_path / "source").open("wb") as source:
        for _ in range(LARGE // len(block)):
            source.write(block)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Transfers() as transfers:
        transfers.upload(
            signed(store, f"{container}/large", "cw"), tmp_path / "source", content_type="application/zip", deadline=60
        )
        transfers.download(signed(store, f"{container}/large"), tmp_path / "target", deadline=60)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert digest(tmp_path / "target") == digest(tmp_path / "source")
    assert grown < 20 * 1024  # KiB


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_blob_that_has_not_changed_is_not_sent_again(
    store: BlobStore, container: str, transfers: Transfers, tmp_path: Path
) -> None:
    name, target = f"{container}/ref.zip", tmp_path / "ref.zip"

    def unless(known: Version) -> Version | None:
        return transfers.download_unless(signed(store, name), target, known=known, deadline=60)

    store.put(name, b"first")
    first = unless(Version())
    assert first
    assert unless(first) is None
    expired = signed(store, name, expires_in=-60)
    with pytest.raises(UrlRefused):
        transfers.download_unless(expired, target, known=first, deadline=60)
    store.put(name, b"second")
    assert unless(first) not in {None, first}
    assert target.read_bytes() == b"second"
