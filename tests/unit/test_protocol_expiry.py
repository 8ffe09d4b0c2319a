from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.expiry import expires_at
from protocol.urls import SignedUrl

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
EPOCH_NOON = int(NOON.timestamp())


def expiry(query: str) -> datetime | None:
    return expires_at(SignedUrl(f"https://store.example.org/a/b?{query}"))


@pytest.mark.parametrize(
    "query",
    [
        "sv=2021-12-02&se=2026-11-21T12%3A00%3A00Z&sr=b&sp=r&sig=abc",
        "se=2026-11-21T12:00Z&sig=abc",
        "se=2026-11-21T13:00:00%2B01:00&sig=abc",
        "se=2026-11-21T12:00:00&sig=abc",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261121T110000Z&X-Amz-Expires=3600&X-Amz-Signature=a",
        "x-amz-date=20261121T110000Z&x-amz-expires=3600",
        "X-Goog-Date=20261121T110000Z&X-Goog-Expires=3600&X-Goog-Signature=a",
        f"AWSAccessKeyId=a&Signature=b&Expires={EPOCH_NOON}",
        f"GoogleAccessId=a&Expires={EPOCH_NOON}&Signature=b",
        f"Signature=b&Expires={EPOCH_NOON}&Expires=1",
        f"Signature=b&Expires={EPOCH_NOON + 60}&se=2026-11-21T12:00Z&sig=abc",
    ],
)
def test_schemes(query: str) -> None:
    assert expiry(query) == NOON


def test_a_date_alone_is_its_first_instant() -> None:
    assert expiry("se=2026-11-21&sig=a") == datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "X-Amz-Expires=86400&X-Amz-Signature=FAKEr",
        "se=2026-11-21T12:00Z",
        "se=soon&sig=a",
        "se=9999-12-31T23:59:59-12:00&sig=a",
        f"Expires={EPOCH_NOON}",
        "Signature=a&Expires=never",
        "Signature=a&Expires=-5",
        "Signature=a&Expires=" + "9" * 12,
        "Signature=a&Expires=" + "9" * 5000,
        "X-Amz-Date=20261121T110000Z&X-Amz-Expires=" + "9" * 12,
        "X-Amz-Date=2026-11-21&X-Amz-Expires=5",
        "se=2026-11-21&sig=a&" + "&".join(["x=1"] * 101),
    ],
)
def test_unknown_or_unreadable(query: str) -> None:
    assert expiry(query) is None


def test_a_url_that_is_none() -> None:
    assert expires_at(SignedUrl("https://[::1?se=2026-11-21&sig=a")) is None


names = st.sampled_from(
    ["se", "sig", "Expires", "Signature", "X-Amz-Date", "X-Amz-Expires", "X-Goog-Date", "X-Goog-Expires"]
)


@given(st.lists(st.tuples(names, st.text("0123456789TZ:-+%", max_size=20) | st.text(max_size=5)), max_size=5))
def test_no_query_raises(pairs: list[tuple[str, str]]) -> None:
    found = expiry("&".join(f"{name}={value}" for name, value in pairs))
    assert found is None or found.tzinfo is UTC
