"""Azure blobs and their signed URLs (SAS) with nothing but HTTP and HMAC: the site's store in the demo.

Only for Azurite on this machine: the account and its key are the published ones of that emulator.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import requests

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-12-02"
TIMEOUT = 30

Permissions = Literal["r", "cw"]


@dataclass(frozen=True)
class BlobStore:
    """The blobs at an endpoint such as http://127.0.0.1:10100/devstoreaccount1.

    Blobs have names of the form `CONTAINER/PATH`.
    """

    endpoint: str

    def make_container(self, name: str) -> None:
        """Make a container, or find it there; its name has at least three characters."""
        self._call("PUT", name, {"restype": "container"}, expected=(201, 409))

    def delete_container(self, name: str) -> None:
        """Delete a container with all that is in it, or find it gone."""
        self._call("DELETE", name, {"restype": "container"}, expected=(202, 404))

    def put(self, name: str, data: bytes) -> None:
        """Store a blob."""
        self._call("PUT", name, body=data, headers={"x-ms-blob-type": "BlockBlob"}, expected=(201,))

    def get(self, name: str) -> bytes:
        """Read a blob; one that is not there raises."""
        return self._call("GET", name, expected=(200,)).content

    def exists(self, name: str) -> bool:
        """Tell whether a blob is there."""
        return self._call("HEAD", name, expected=(200, 404)).status_code == HTTPStatus.OK

    def list(self, container: str, prefix: str = "") -> list[str]:
        """Name the blobs of a container, as `CONTAINER/PATH`."""
        query = {"restype": "container", "comp": "list", "prefix": prefix}
        found = ET.fromstring(self._call("GET", container, query, expected=(200,)).content)  # noqa: S314 - our own store
        return [f"{container}/{name.text}" for name in found.iterfind("Blobs/Blob/Name")]

    def url(self, name: str, permissions: Permissions = "r", expires_in: float = 3600) -> str:
        """Sign a URL for reading (`r`) or for writing (`cw`) one blob, as a CodaLab site hands out."""
        signed = {"sv": VERSION, "sr": "b", "sp": permissions, "se": _expiry(expires_in)}
        resource = f"/blob/{ACCOUNT}/{name}"
        fields = [signed["sp"], "", signed["se"], resource, "", "", "", VERSION, "b"]
        signed["sig"] = _signature([*fields, *[""] * 7])  # snapshot, encryption scope, five response headers
        return f"{self.endpoint}/{quote(name)}?{urlencode(signed)}"

    def _call(
        self,
        method: str,
        name: str,
        query: dict[str, str] | None = None,
        *,
        expected: tuple[int, ...],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """Do one request as the account's owner."""
        signed = f"{self.endpoint}/{quote(name)}?{urlencode({**(query or {}), **_owner_signature()})}"
        reply = requests.request(method, signed, data=body, headers=headers, timeout=TIMEOUT)
        if reply.status_code not in expected:
            raise BlobError(f"{method} {name}: {reply.status_code} {reply.headers.get('x-ms-error-code', '')}")
        return reply


class BlobError(Exception):
    """The store answered something else than was hoped for."""


def _owner_signature() -> dict[str, str]:
    """Sign for anything in the account, for ten minutes."""
    signed = {"sv": VERSION, "ss": "b", "srt": "sco", "sp": "rwdlac", "se": _expiry(600)}
    fields = [ACCOUNT, signed["sp"], signed["ss"], signed["srt"], "", signed["se"], "", "", VERSION, "", ""]
    return {**signed, "sig": _signature(fields)}


def _expiry(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _signature(fields: list[str]) -> str:
    """Sign the fields, one a line, in the order that the service prescribes."""
    key = base64.b64decode(ACCOUNT_KEY)
    digest = hmac.new(key, "\n".join(fields).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
