"""What nobody may ever read outside of where it belongs, and the search for it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

from tests.support.competition import Submission
from tests.support.hostile_archives import opened

Texts = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Canaries:
    """One for each place where a secret lies; `broker_password` is a real one."""

    broker_password: str
    host_file: str
    reference: str
    environment: str

    @classmethod
    def hatch(cls, broker_url: str) -> Canaries:
        password = urlsplit(broker_url).password or ""
        names = ("host-file", "reference", "environment")
        return cls(password, *(f"canary-of-{name}-{uuid4().hex}" for name in names))

    def forbidden(self, secrets: Iterable[str]) -> frozenset[bytes]:
        """These and those secrets, in every form that they travel in."""
        plain = {self.broker_password, self.host_file, self.reference, self.environment, *secrets}
        assert all(len(secret) > 12 for secret in plain)
        written = plain | {quote(secret, safe="") for secret in plain} | {_base64(secret) for secret in plain}
        return frozenset(secret.encode() for secret in written)


def secrets_of(submission: Submission) -> frozenset[str]:
    return frozenset({submission.task_args["secret"], *signatures(submission)})


def signatures(submission: Submission) -> Iterator[str]:
    """Of every URL in the message and in the documents that it leads to."""
    written = [value for key, value in submission.task_args.items() if key.endswith("_url")]
    for name in ("run.txt", "input.txt"):
        if submission.has(name):
            written += submission.read(name).decode(errors="replace").split()
    for url in written:
        yield from parse_qs(urlsplit(url).query).get("sig", []) if url.startswith("http") else ()


def leaks(texts: Texts, forbidden: Iterable[bytes]) -> set[tuple[str, bytes]]:
    """Where one of those can be read, whole archives and what is packed in them alike."""
    secrets = tuple(forbidden)
    return {
        (where, secret)
        for name, data in texts.items()
        for where, text in opened(name, data)
        for secret in secrets
        if secret in text
    }


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode().rstrip("=")[:-1]  # the last letter depends on what comes next
