"""A certificate that nobody has signed but itself, for servers of this machine: its own CA."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from worker.demo import packages

_SUBJECT = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-days", "1")


@dataclass(frozen=True, slots=True)
class Certificate:
    certificate: Path
    key: Path


def self_signed(folder: Path) -> Certificate:
    """Made in that folder."""
    if packages.program("openssl") is None:
        packages.install(["openssl"])
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    argv = [packages.need("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *_SUBJECT]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return made
