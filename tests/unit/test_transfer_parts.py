from __future__ import annotations

import os
from pathlib import Path

import pytest

from protocol.urls import SignedUrl
from worker.storage import azure
from worker.storage.azure import block_list, block_list_url, block_url, blocks
from worker.storage.errors import StoreUnavailable, TooLarge, UrlRefused
from worker.storage.exchange import Deadline, Hiccup
from worker.storage.transfer import Transfers
from worker.storage.upload import Source, is_azure, put_headers

AZURE = SignedUrl("https://acc.blob.core.windows.net/c/b?sv=2021-12-02&sr=b&sig=a%2Bb%3D")
S3_V4 = SignedUrl("https://s3/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Signature=ab")
S3_V2 = SignedUrl("https://s3/b/k?AWSAccessKeyId=a&Expires=1&Signature=b%3D")
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (AZURE, {"Content-Type": "text/plain", "x-ms-blob-type": "BlockBlob"}),
        (S3_V4, {"Content-Type": "text/plain"}),
        (S3_V2, {}),
        (SignedUrl("http://plain/file"), {"Content-Type": "text/plain"}),
    ],
)
def test_each_store_gets_the_headers_that_it_stands(url: SignedUrl, headers: dict[str, str]) -> None:
    assert put_headers(url, "text/plain") == headers


def test_azure_is_known_by_its_query_alone() -> None:
    assert is_azure(SignedUrl("http://127.0.0.1:10000/devstoreaccount1/c/b?sig=x&sv=2020-02-10"))
    assert not is_azure(SignedUrl("https://acc.blob.core.windows.net/c/b?signature=x"))


@pytest.mark.parametrize("size", [1, 4 * MIB, 4 * MIB + 1, 200 * MIB, 200 * MIB + 1, 300 * 1024 * MIB])
def test_blocks_cover_the_blob_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert azure._MOST_BLOCKS <= 50_000  # Azure's own limit; so many take their time
    monkeypatch.setattr(azure, "_MOST_BLOCKS", 50)
    pieces = list(blocks(size))
    assert sum(piece.length for piece in pieces) == size
    assert [piece.start for piece in pieces[1:]] == [piece.start + piece.length for piece in pieces[:-1]]
    assert len(pieces) <= 50
    assert len({len(piece.id) for piece in pieces}) == 1
    assert len({piece.id for piece in pieces}) == len(pieces)


def test_block_urls_keep_the_signature() -> None:
    first = next(blocks(1))
    assert block_url(AZURE, first).reveal() == f"{AZURE.reveal()}&comp=block&blockid=MDAwMDAwMDAw"
    assert block_list_url(AZURE).reveal() == f"{AZURE.reveal()}&comp=blocklist"
    assert block_list(["MQ==", "Mg=="]).endswith(b"<BlockList><Latest>MQ==</Latest><Latest>Mg==</Latest></BlockList>")


def test_errors_name_host_and_path_only() -> None:
    for error in (UrlRefused(AZURE, "HTTP 403", status=403), StoreUnavailable(AZURE, "reset"), TooLarge(AZURE, 5)):
        assert "acc.blob.core.windows.net/c/b" in str(error)
        assert "sig" not in f"{error!s}{error!r}"


@pytest.mark.parametrize("text", ["file:///etc/passwd", "ftp://host/x", "/etc/passwd", "", "http://", "http://[::1/x"])
def test_only_http_urls_are_asked_for(text: str, tmp_path: Path) -> None:
    url = SignedUrl(text)
    with Transfers() as transfers:
        with pytest.raises(UrlRefused):
            transfers.download(url, tmp_path / "x", deadline=1)
        with pytest.raises(UrlRefused):
            transfers.upload(url, tmp_path / "x", content_type="text/plain", deadline=1)
    assert list(tmp_path.iterdir()) == []


def test_a_piece_is_what_was_there_when_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    deadline, sent = Deadline.after(5, AZURE), list[int]()
    with Source.open(path) as source:
        with path.open("ab") as log:
            log.write(b"later")
        body = source.piece(2, source.size - 2, deadline, sent.append)
        assert len(body) == 8
        assert b"".join(body) == b"23456789"
        assert sent[-1] == 10
        os.truncate(path, 3)
        with pytest.raises(Hiccup, match="shrank"):
            list(source.piece(5, 5, deadline, sent.append))


def test_sending_ends_at_the_deadline(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x")
    with Source.open(tmp_path / "log") as source, pytest.raises(StoreUnavailable, match="not done within"):
        list(source.piece(0, 1, Deadline.after(0, AZURE), lambda _: None))


def test_links_folders_and_fifos_are_not_uploaded(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "fifo")
    with Transfers() as transfers:
        for name in ("link", "fifo", ".", "missing"):
            with pytest.raises(OSError, match=r"symbolic|regular|No such"):
                transfers.upload(AZURE, tmp_path / name, content_type="text/plain", deadline=1)
