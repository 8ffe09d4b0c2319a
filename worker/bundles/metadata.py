"""Metadata files: YAML written by the site, by organisers or by participants, and read as if each meant harm."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

_FILE_NAME = "metadata"
_LARGEST = 1024 * 1024  # bytes
_DEEPEST = 20
_MOST_EVENTS = 20_000
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Both leave every scalar as text: no tag makes an object, no number or date costs time, no `<<` multiplies.
_LOADER: type = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class MetadataError(Exception):
    """A program's metadata does not say what to run; `reason` goes on where "it cannot be run: …" left off."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoCommand(MetadataError):
    """There is no metadata file, or it says nothing of a command: results are submitted so, too."""


def parse_document(data: bytes) -> Mapping[str, object] | None:
    """The mapping that a YAML document holds, its scalars as text; None where it is no YAML or no mapping.

    None as well for what nobody writes by hand: above 1 MiB, 20 levels or some thousand values, and aliases
    (a document of ten lines can name a billion values by them).
    """
    if len(data) > _LARGEST:
        return None
    try:
        text = data.decode("utf-8-sig")
        if not _is_modest(text):
            return None
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - the base loader makes only text, lists and dicts
    except (yaml.YAMLError, ValueError):  # ValueError: no UTF-8, or an escape beyond Unicode
        return None
    return document if isinstance(document, dict) else None


def command(folder: Path) -> tuple[str, ...]:
    """The commands of a program, in their order, from the `metadata` in its folder.

    Raises `NoCommand` where it names none, `MetadataError` where what it names is no command.
    """
    document = parse_document(_read(folder / _FILE_NAME))
    if document is None:
        raise NoCommand("its metadata file is not a YAML mapping")
    named = document.get("command")
    commands = tuple(_commands(named if isinstance(named, list) else [named]))
    if not commands:
        raise NoCommand("its metadata file names no command")
    return commands


def _commands(named: list[object]) -> Iterator[str]:
    for item in named:
        if item is not None and not isinstance(item, str):
            raise MetadataError("the command in its metadata file is neither a line of text nor a list of them")
        if item and item.strip():
            yield item.strip()


def _is_modest(text: str) -> bool:
    """Looks at the document as a stream of events, before anything is built from it."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST or count > _MOST_EVENTS:
            return False
    return True


def _read(path: Path) -> bytes:
    """The file's bytes, one more than may be at most. Follows no link and waits for no FIFO."""
    try:
        handle = os.open(path, _FLAGS)
    except OSError:
        raise NoCommand("it has no metadata file") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise MetadataError("its metadata is not a file")
    with os.fdopen(handle, "rb") as file:
        return file.read(_LARGEST + 1)
