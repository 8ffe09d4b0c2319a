"""A registry of one tiny image, on a loopback port, that misbehaves as it is told."""

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

# As the distribution API has them.
ERRORS = {
    401: ("UNAUTHORIZED", "authentication required"),
    403: ("DENIED", "requested access to the resource is denied"),
    404: ("MANIFEST_UNKNOWN", "manifest unknown"),
    429: ("TOOMANYREQUESTS", "too many requests"),
}


class Registry(ThreadingHTTPServer):
    """`fault` is what it does wrong; `login` (user, password) what it wants, if anything.

    A fault is `manifest:STATUS`, `layer:STATUS`, `manifest:stall`, `layer:stall`, `layer:drip`,
    `layer:slow` (two seconds), `layer:cut` or `layer:garbage`. The image has `files` and runs `command`.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], command: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._files = files
        self.command = command
        self.fault = ""
        self.only_once = False
        """True where all is well after the first fault."""
        self.requests = 0
        self.manifests_asked = 0
        self.login: tuple[str, str] | None = None
        self.words = ""
        self.left = threading.Event()
        """Set when the engine went away from an answer that drips."""
        self.held = threading.Event()
        """Set when an answer was begun that stalls."""
        self.over = threading.Event()
        self.blobs: dict[str, bytes] = {}
        self.new_image()

    @property
    def reference(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}/image:1"

    def new_image(self) -> None:
        """Have another image under the same tag."""
        layer, plain = _layer({**self._files, "data": os.urandom(300_000)})
        diff = f"sha256:{hashlib.sha256(plain).hexdigest()}"
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": list(self.command)},
                "rootfs": {"type": "layers", "diff_ids": [diff]},
            }
        )
        self.layer_digest = self._add(layer)
        config_digest = self._add(config.encode())
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": _entry("container.image.v1+json", len(config), config_digest),
                "layers": [_entry("image.rootfs.diff.tar.gzip", len(layer), self.layer_digest)],
            }
        ).encode()

    def _add(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry
    types: ClassVar = {"manifests": MANIFEST, "blobs": "application/octet-stream"}

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.manifests_asked += "/manifests/" in self.path
        if not self._let_in():
            return
        part = self.path.split("/")[-2] if self.path != "/v2/" else "root"
        body = {"manifests": self.server.manifest, "root": b"{}"}.get(part)
        if body is None:
            body = self.server.blobs[self.path.rpartition("/")[2]]
        self._answer(part, body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _let_in(self) -> bool:
        login = self.server.login
        wanted = "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else None
        if wanted is None or self.headers.get("Authorization") == wanted:
            return True
        self._send(HTTPStatus.UNAUTHORIZED, b"{}", {"WWW-Authenticate": 'Basic realm="test"'})
        return False

    def _answer(self, part: str, body: bytes) -> None:
        is_layer = self.path.endswith(self.server.layer_digest)
        name = {"manifests": "manifest"}.get(part, "layer" if is_layer else "")
        fault = self.server.fault.removeprefix(f"{name}:") if name and self.server.fault.startswith(name) else ""
        if fault and self.server.only_once:
            self.server.fault = ""
        if fault.isdigit():
            code, words = ERRORS.get(int(fault), ("UNKNOWN", "something is wrong"))
            error = json.dumps({"errors": [{"code": code, "message": self.server.words or words}]})
            self._send(HTTPStatus(int(fault)), error.encode(), {"Content-Type": "application/json"})
            return
        body = bytes(len(body)) if fault == "garbage" else body
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        headers = {"Content-Type": self.types.get(part, "application/json"), "Docker-Content-Digest": digest}
        self._send(HTTPStatus.OK, body, headers, fault)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str], fault: str = "") -> None:
        if fault == "stall" and "manifests" in self.path:
            self._hold()
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault == "stall":
            self.wfile.write(body[:1000])
            self._hold()
        elif fault == "drip":
            self._drip(body, 1000)
        elif fault == "slow":
            self._drip(body, len(body) // 40)
        elif fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif self.command == "GET":
            self.wfile.write(body)

    def _hold(self) -> None:
        self.close_connection = True
        self.server.held.set()
        self.server.over.wait(60)

    def _drip(self, body: bytes, size: int) -> None:
        try:
            for start in range(0, len(body), size):
                self.wfile.write(body[start : start + size])
                self.server.over.wait(0.05)
        except ConnectionError:
            self.server.left.set()


def _layer(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), 1), buffer.getvalue()


def _entry(kind: str, size: int, digest: str) -> dict[str, object]:
    return {"mediaType": f"application/vnd.docker.{kind}", "size": size, "digest": digest}


@contextmanager
def faulty_registry(files: Mapping[str, bytes] | None = None, command: Sequence[str] = ("x",)) -> Iterator[Registry]:
    """Have it for a while."""
    with Registry(files or {}, command) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
