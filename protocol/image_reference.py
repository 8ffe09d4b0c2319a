"""References to container images: `[domain[:port]/]path[:tag][@digest]`.

The grammar is that of the OCI distribution specification and Docker's own reference package, with one
difference: `Team/image` is refused as upper case, where Docker would look for a registry of the name `Team`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LENGTH = 512
_MAX_NAME = 255
_DEFAULT_DOMAIN = "docker.io"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image reference in its parts; `tag` and `digest` are empty where it has none."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"


def parse(text: str) -> ImageReference:
    """The reference in full: Docker Hub where no registry is named, `latest` where neither tag nor digest is.

    Raises ValueError with the reason, which does not quote the text.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an image reference has at most {MAX_LENGTH} characters")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("what follows the @ is no valid digest, such as sha256: and 64 hexadecimal digits")
    name, tag = _split_tag(rest)
    domain, path = _split_domain(name)
    return ImageReference(domain, path, tag if tag or digest else "latest", digest)


def is_valid(text: str) -> bool:
    """Whether the text is an image reference, in the short or the full form."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _split_tag(text: str) -> tuple[str, str]:
    """A colon is the tag's only after the last slash; before it, it is a port's."""
    head, slash, last = text.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError("its tag is not valid")
    return f"{head}{slash}{last}", tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    domain, path = (first.lower(), rest) if named else (_DEFAULT_DOMAIN, name)
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("the name of its registry is not valid")
    _check_path(path)
    if domain in {_DEFAULT_DOMAIN, "index.docker.io"}:
        domain, path = _DEFAULT_DOMAIN, path if "/" in path else f"library/{path}"
    if len(domain) + len(path) + 1 > _MAX_NAME:
        raise ValueError(f"its name is longer than {_MAX_NAME} characters")
    return domain, path


def _check_path(path: str) -> None:
    if path != path.lower():
        raise ValueError("its name must be in lower case")
    if not _PATH.fullmatch(path):
        raise ValueError("its name is not valid")
    if _IMAGE_ID.fullmatch(path):
        raise ValueError("it must be a name, not the id of a local image")
