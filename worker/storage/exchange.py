"""One HTTP exchange with a store: deadlines, redirects and errors, the same for downloads and uploads.

This is the edge where exceptions of requests and urllib3 end. A `Hiccup` is what may go better
next time; it never leaves the transfer rooms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from protocol.urls import SignedUrl
from worker.storage.errors import StoreUnavailable, UrlRefused

CONNECT_TIMEOUT = 10.0
SILENCE_TIMEOUT = 60.0  # seconds without a single byte
T = TypeVar("T")

_MAX_REDIRECTS = 5
_SHORT_BODY = 4096
_SHORTEST_TIMEOUT = 0.01  # requests takes no timeout of 0
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_SAME_METHOD = {HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT}
_TO_A_GET = {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER}


class Hiccup(Exception):
    """An attempt failed in a way that may pass; `reason` holds no URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Body(Protocol):
    """What a PUT sends: a known length, piece by piece. Of what can be read urllib3 would take but 16 KiB at a time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


BodyMaker = Callable[[], Body | bytes]
"""Makes the body anew for each request, so that a retry or redirect starts from the first byte."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by which a whole transfer, retries included, must be done."""

    url: SignedUrl
    seconds: float
    ends: float
    silence: float = SILENCE_TIMEOUT

    @classmethod
    def after(cls, seconds: float, url: SignedUrl, *, silence: float = SILENCE_TIMEOUT) -> Deadline:
        """That many seconds from now; the store may fall silent for `silence` seconds before that."""
        return cls(url, seconds, time.monotonic() + seconds, silence)

    def remaining(self) -> float:
        """Seconds left. Raises `StoreUnavailable` where there are none: time does not come back."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise StoreUnavailable(self.url, f"not done within {self.seconds:g} s")
        return left

    def timeouts(self) -> tuple[float, float]:
        """Seconds to wait for a connection, and for the next byte. Raises as `remaining` does."""
        left = max(self.remaining(), _SHORTEST_TIMEOUT)
        return min(CONNECT_TIMEOUT, self.silence, left), min(self.silence, left)


@dataclass(frozen=True, slots=True)
class Request:
    """A GET, or a PUT of what `body` makes."""

    method: str
    url: SignedUrl
    headers: Mapping[str, str]
    body: BodyMaker | None = None


def make_session(connections: int) -> requests.Session:
    """A session that several threads may share: nothing in it changes from one request to the next.

    It does not look at the environment: a netrc entry would add an Authorization header, which stores refuse
    beside a signature (and which would hand a password to whomever the message names), and
    proxies are no setting of this worker. Cookies are not kept.
    """
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # No decompression on the way: lengths and checksums are those of the bytes that the store holds.
    session.headers.update({"User-Agent": "codalab-worker", "Accept-Encoding": "identity"})
    adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


@contextmanager
def exchange(session: requests.Session, request: Request, deadline: Deadline) -> Iterator[requests.Response]:
    """Sends it, follows redirects, and yields a response below 300 whose body is yet to be read.

    Raises `Hiccup` for what may pass and `UrlRefused` for what will not.
    """
    response = _follow(session, request, deadline)
    try:
        _judge(response, request.url)
        yield response
    finally:
        response.close()


def finish(response: requests.Response, url: SignedUrl) -> None:
    """Reads the end of a body that should be empty, so that the connection can serve again."""
    read1: Callable[..., bytes] = response.raw.read1
    translated(url, lambda: read1(_SHORT_BODY, decode_content=False))


def translated(url: SignedUrl, call: Callable[[], T]) -> T:
    """Calls it, turning what requests and urllib3 raise into `Hiccup` or `UrlRefused`."""
    try:
        return call()
    except (requests.RequestException, HTTPError, ValueError) as error:
        reason, lasting = _innermost(error), isinstance(error, ValueError)
    # Raised out here, so that the original with its whole URL is not even the context of the new one.
    if lasting:  # requests' ValueErrors: a URL that it cannot make a request of
        raise UrlRefused(url, f"not a usable URL ({reason})")
    raise Hiccup(f"connection failed ({reason})")


def check_url(url: SignedUrl) -> None:
    """Raises `UrlRefused` for anything but http and https with a host."""
    try:
        parts = urlsplit(url.reveal())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # such as a bracket that opens no IPv6 address
        usable = False
    if not usable:
        raise UrlRefused("a signed URL", "is not an http or https URL")


def _follow(session: requests.Session, request: Request, deadline: Deadline) -> requests.Response:
    url = request.url
    for _ in range(_MAX_REDIRECTS + 1):
        response = _send(session, request, url, deadline)
        follows = _SAME_METHOD | (_TO_A_GET if request.method == "GET" else set())
        if response.status_code not in follows:
            return response
        url = _next_url(url, response)
        response.close()
    raise UrlRefused(request.url, f"more than {_MAX_REDIRECTS} redirects", status=response.status_code)


def _send(session: requests.Session, request: Request, url: SignedUrl, deadline: Deadline) -> requests.Response:
    timeouts = deadline.timeouts()
    return translated(
        request.url,
        lambda: session.request(
            request.method,
            url.reveal(),
            headers=dict(request.headers),
            # requests would send an empty stream chunked, which Azure refuses: empty bytes it does not.
            data=(request.body() or b"") if request.body else None,
            timeout=timeouts,
            allow_redirects=False,
            stream=True,
        ),
    )


def _next_url(url: SignedUrl, response: requests.Response) -> SignedUrl:
    """Where a redirect leads: http(s) only, and never from https down to http."""
    try:
        target = SignedUrl(urljoin(url.reveal(), response.headers.get("Location", "")))
        scheme = urlsplit(target.reveal()).scheme
    except ValueError:
        scheme = ""
    if scheme != "https" and (scheme != "http" or urlsplit(url.reveal()).scheme == "https"):
        response.close()
        raise UrlRefused(url, "redirected to what is not an http or https URL", status=response.status_code)
    return target


def _judge(response: requests.Response, url: SignedUrl) -> None:
    status = response.status_code
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Hiccup(f"HTTP {status}")
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise UrlRefused(url, f"HTTP {status}", status=status)


def _innermost(error: BaseException) -> str:
    """The name of the class at the root of it, such as ConnectionRefusedError; texts may hold URLs."""
    seen = error
    while (cause := seen.__cause__ or seen.__context__) is not None:
        seen = cause
    return type(seen).__name__
