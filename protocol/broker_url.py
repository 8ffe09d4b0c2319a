"""The broker's address, out of a URL as the site shows it.

pika cannot read these: it knows no `pyamqp://`, and takes the site's `//` for an empty vhost
(protocol-facts.md 10). The rules here are kombu's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, quote, unquote, urlsplit

from protocol.plain_text import has_control

_SCHEMES = {"amqp": False, "pyamqp": False, "amqps": True}
_PORT = 5672
_TLS_PORT = 5671
_GUEST = "guest"
_MAX_VHOST = 255  # bytes of an AMQP short string
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%[A-Za-z0-9._-]+)?")


class BrokerUrlError(ValueError):
    """BROKER_URL cannot be used; the message says why and never quotes it."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and how to log in; printing it leaves the password out."""

    tls: bool
    user: str
    password: str = field(repr=False)
    host: str
    port: int
    vhost: str

    def with_vhost(self, vhost: str) -> BrokerAddress:
        """The same broker and login, another virtual host."""
        return replace(self, vhost=vhost)

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}@{host}:{self.port}/{quote(self.vhost, safe='')}"


def parse(url: str, *, tls: bool = False) -> BrokerAddress:
    """The address in `amqp://`, `pyamqp://` or `amqps://user:password@host:port/vhost`.

    `tls` asks for TLS under any scheme, which changes the default port, too. Raises `BrokerUrlError`.
    """
    parts = _split(url.strip())
    tls = tls or _SCHEMES[parts.scheme]
    return BrokerAddress(
        tls=tls,
        user=_unquoted(parts.username, "user name"),
        password=_unquoted(parts.password, "password"),
        host=_host(parts),
        port=_port(parts) or (_TLS_PORT if tls else _PORT),
        vhost=_vhost(parts.path),
    )


def _split(url: str) -> SplitResult:
    if has_control(url) or " " in url:
        raise BrokerUrlError("BROKER_URL holds spaces or control characters.")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BrokerUrlError(
            "BROKER_URL has brackets that are no IPv6 address; percent-encode those of a password."
        ) from None
    if parts.scheme not in _SCHEMES or not url[len(parts.scheme) :].startswith("://"):
        raise BrokerUrlError("BROKER_URL must begin with amqp://, amqps:// or pyamqp://.")
    if "?" in url or "#" in url:
        raise BrokerUrlError("BROKER_URL holds ? or #: percent-encode them in a password (%3F, %23), drop options.")
    return parts


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not host:
        raise BrokerUrlError("BROKER_URL names no host.")
    if not _HOST.fullmatch(host):
        raise BrokerUrlError("BROKER_URL's host is not valid; percent-encode / and @ in the password (%2F, %40).")
    return host


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise BrokerUrlError("BROKER_URL's port must be 1 to 65535; percent-encode / and : in the password (%2F, %3A).")
    return port


def _vhost(path: str) -> str:
    """No path, `/`, `//` and `/%2F` all mean the vhost `/`."""
    vhost = unquote(path.removeprefix("/")) or "/"
    if len(vhost.encode("utf-8", "replace")) > _MAX_VHOST or has_control(vhost):
        raise BrokerUrlError(f"BROKER_URL's virtual host is longer than {_MAX_VHOST} bytes or not text.")
    return vhost


def _unquoted(text: str | None, what: str) -> str:
    plain = _GUEST if text is None else unquote(text)
    if has_control(plain):
        raise BrokerUrlError(f"BROKER_URL's {what} holds control characters.")
    return plain
