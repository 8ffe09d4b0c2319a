"""Which version of a blob a store has handed out, in the store's own words: RFC 9110, section 8.8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_SETTLED = 60.0  # seconds after which a change is sure to show in a Last-Modified, whose unit is the second


@dataclass(frozen=True, slots=True)
class Version:
    """A validator that promises equal bytes: a strong ETag, else a Last-Modified. False where the store has none."""

    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Version:
        """The version of the body that comes with these headers."""
        etag = headers.get("ETag", "")
        if etag.startswith('"'):
            return cls(etag=etag)
        modified = headers.get("Last-Modified", "")
        return cls(modified=modified if _is_settled(modified, headers.get("Date", "")) else "")

    def __bool__(self) -> bool:
        return bool(self.etag or self.modified)

    def unless(self) -> Mapping[str, str]:
        """The headers of a GET that is answered with 304 while this is the version."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.modified} if self.modified else {}


def _is_settled(modified: str, date: str) -> bool:
    try:
        return (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds() >= _SETTLED
    except (TypeError, ValueError):  # TypeError: one of the two has no time zone
        return False
