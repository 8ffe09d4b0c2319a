"""When a signed URL stops working, as far as its query says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from protocol.urls import SignedUrl

_MAX_FIELDS = 100
_MAX_DIGITS = 12

_Query = Mapping[str, str]


def expires_at(url: SignedUrl) -> datetime | None:
    """The first instant (UTC) at which the URL is refused; None where its query does not say so readably.

    Knows Azure SAS, S3 Signature V4 and V2, and Google Cloud Storage V4 and V2 (the same as S3 V2).
    """
    query = _query(url.reveal())
    times = [time for scheme in _SCHEMES if (time := _or_none(scheme, query)) is not None]
    return min(times, default=None)


def _query(url: str) -> _Query:
    """Names in lower case; of a name given twice the first counts."""
    try:
        pairs = parse_qsl(urlsplit(url).query, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return {}
    return {name.lower(): value for name, value in reversed(pairs)}


def _or_none(scheme: Callable[[_Query], datetime], query: _Query) -> datetime | None:
    try:
        return scheme(query)
    except (KeyError, ValueError, OverflowError):
        return None


def _azure(query: _Query) -> datetime:
    """`se` is ISO 8601, a date alone included; a SAS has `sig` beside it."""
    _ = query["sig"]
    time = datetime.fromisoformat(query["se"])
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _s3_v4(query: _Query) -> datetime:
    return _signed_for(query["x-amz-date"], query["x-amz-expires"])


def _gcs_v4(query: _Query) -> datetime:
    return _signed_for(query["x-goog-date"], query["x-goog-expires"])


def _v2(query: _Query) -> datetime:
    """`Expires` is in seconds since the epoch; `Signature` tells it from some application's own `Expires`."""
    _ = query["signature"]
    return datetime.fromtimestamp(_seconds(query["expires"]), UTC)


def _signed_for(signed: str, seconds: str) -> datetime:
    """From the time of signing (`20261121T220000Z`), for a number of seconds."""
    start = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return start + timedelta(seconds=_seconds(seconds))


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ValueError("not a number of seconds")
    return int(text)


_SCHEMES = (_azure, _s3_v4, _gcs_v4, _v2)
