"""The site's metadata documents: YAML `key: URL`, naming the bundles of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import yaml

from protocol.faults import OrganiserFault
from protocol.urls import SignedUrl
from worker.bundles.metadata import parse_document

_MOST_LINKS = 32
_LARGEST = 1024 * 1024  # bytes
_SAFE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# Where things go, and facts; never fetched (the site's own worker knows them by these names).
_NO_BUNDLES = frozenset(
    (
        *("stdout", "stderr", "output", "private_output"),
        *("description", "command", "exitCode", "elapsedTime", "submitted-by", "submitted-at"),
    )
)


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was read: the bundles to fetch by key, and notes on links that were passed over."""

    values: Mapping[str, str]
    links: Mapping[str, SignedUrl]
    notes: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Keeps the document for programs to read, but no signatures: programs print what they find."""
        text = yaml.safe_dump({key: _unsigned(value) for key, value in self.values.items()}, allow_unicode=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)


def read_document(file: Path) -> Document | None:
    """Reads the document in that file; None where it is no YAML mapping, and so is simply text.

    Raises `OrganiserFault` where it names more bundles than any run has.
    """
    with file.open("rb") as opened:
        found = parse_document(opened.read(_LARGEST + 1))
    if found is None:
        return None
    values = {key: value for key, value in found.items() if isinstance(value, str)}
    wanted = {key: value for key, value in values.items() if key not in _NO_BUNDLES and _is_link(value)}
    if len(wanted) > _MOST_LINKS:
        raise OrganiserFault(
            f"The organiser's run bundle names {len(wanted)} bundles; a run has at most {_MOST_LINKS}."
        )
    links = {key: SignedUrl(value) for key, value in wanted.items() if _SAFE_KEY.fullmatch(key)}
    notes = tuple(f"{key!r:.80} was not fetched: it is no name for a folder" for key in wanted.keys() - links.keys())
    return Document(values, links, notes)


def _is_link(value: str) -> bool:
    return value.startswith(("http://", "https://"))


def _unsigned(value: str) -> str:
    """The URL without its query, user name and fragment; other text as it is."""
    if not _is_link(value):
        return value
    try:
        parts = urlsplit(value)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return ""
