"""What is fuzzed: each target takes bytes from a stranger, and says what must hold whatever they are.

A check returns where the input was taken or refused as documented; whatever else it raises is a find.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from protocol import celery_envelope, docker_command, expiry, image_reference
from protocol.codalab import parse_message_file, run_request
from protocol.docker_command import DockerSubmission
from protocol.faults import Fault, MessageFault, OrganiserFault, ParticipantFault
from protocol.urls import SignedUrl
from tests.fuzz import control, corpus
from worker.archives.unpack import ArchiveLimits, BadArchive, unpack
from worker.bundles.document import read_document
from worker.bundles.metadata import MetadataError, command, parse_document

_LIMITS = ArchiveLimits(bytes=1 << 20, entries=200)
_SECRET = "s3cr3t-of-the-run"
_RESERVED = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True)
class Target:
    """`seeds` are inputs that are known to mean something; mutations begin from them."""

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def check_envelope(data: bytes) -> None:
    """A delivery: AMQP headers as JSON, a zero byte, the body."""
    headers, body = _split(data)
    try:
        task = celery_envelope.decode(
            body, headers=headers, content_type="application/json", content_encoding=_text(headers, "encoding")
        )
        run_request(task)
    except (MessageFault, ParticipantFault) as fault:
        _is_public(fault)


def check_control(data: bytes) -> None:
    """A request to remote control: AMQP headers as JSON, a zero byte, the body."""
    control.ask(*_split(data))


def check_message_file(data: bytes) -> None:
    with suppress(UnicodeDecodeError):
        try:
            parse_message_file(data.decode(), message_id="fuzz")
        except (MessageFault, ParticipantFault) as fault:
            _is_public(fault)


def check_docker_command(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        submission = docker_command.parse(text)
    except ParticipantFault as fault:
        _is_public(fault)
        return
    if submission is not None:
        _is_harmless(submission)


def check_image_reference(data: bytes) -> None:
    with suppress(ValueError):
        image_reference.parse(data.decode("utf-8", "replace"))


def check_signed_url(data: bytes) -> None:
    expiry.expires_at(SignedUrl(data.decode("utf-8", "replace")))


def check_metadata(data: bytes) -> None:
    document = parse_document(data)
    assert document is None or _is_plain(document)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "metadata")
        file.write_bytes(data)
        with suppress(MetadataError):
            assert all(line.strip() for line in command(Path(folder)))
        with suppress(OrganiserFault):
            if (site := read_document(file)) is not None:
                site.write(Path(folder, "written"))
                assert parse_document(Path(folder, "written").read_bytes()) == site.values or _has_links(site.values)


def check_archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive, target = Path(folder, "archive.zip"), Path(folder, "target")
        archive.write_bytes(data)
        try:
            unpack(archive, target, limits=_LIMITS)
        except BadArchive:
            assert not target.exists()
        else:
            _is_within_limits(target)
        assert {path.name for path in Path(folder).iterdir()} <= {"archive.zip", "target"}
        assert archive.read_bytes() == data


def _split(data: bytes) -> tuple[Mapping[str, object], bytes]:
    head, _, body = data.partition(b"\0")
    with suppress(ValueError, RecursionError):
        headers = json.loads(head)
        if isinstance(headers, dict):
            return headers, body
    return {}, body


def _text(headers: Mapping[str, object], name: str) -> str | None:
    value = headers.get(name)
    return value if isinstance(value, str) else None


def _is_public(fault: Fault) -> None:
    """What goes to the site: one line, and of the seeds' secrets nothing."""
    assert fault.sentence
    assert "\n" not in fault.sentence
    assert _SECRET not in fault.sentence
    assert "sig=" not in fault.sentence


def _is_harmless(submission: DockerSubmission) -> None:
    image_reference.parse(submission.image)
    asked = submission.input_folder_asked or ("/", "/mnt/in")
    for path in (submission.output_target, *asked, submission.working_dir or "/"):
        assert path.startswith("/")
        assert ".." not in path.split("/")
        assert "\0" not in path
    for path in (submission.output_target, asked[1]):
        assert path != "/"
        assert not any(path == place or path.startswith(f"{place}/") for place in _RESERVED)
    assert not any("\0" in word for word in (*(submission.arguments or ()), *(submission.entrypoint or ())))
    assert not any("\0" in word or "=" in name for name, word in submission.environment.items())


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, str)


def _has_links(values: Mapping[str, str]) -> bool:
    return any(value.startswith(("http://", "https://")) for value in values.values())


def _is_within_limits(target: Path) -> None:
    found = list(_walk(target))
    assert len(found) <= _LIMITS.entries
    assert sum(entry.st_size for entry in found if stat.S_ISREG(entry.st_mode)) <= _LIMITS.bytes
    for entry in found:
        assert stat.S_ISREG(entry.st_mode) or stat.S_ISDIR(entry.st_mode)
        assert stat.S_IMODE(entry.st_mode) in {0o644, 0o755}
        assert stat.S_ISDIR(entry.st_mode) or entry.st_nlink == 1


def _walk(folder: Path) -> Iterable[os.stat_result]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(root, name).lstat()


TARGETS = {
    "envelope": Target(check_envelope, corpus.deliveries),
    "control": Target(check_control, corpus.control_requests),
    "message-file": Target(check_message_file, corpus.message_files),
    "docker-command": Target(check_docker_command, corpus.docker_commands),
    "image-reference": Target(check_image_reference, corpus.image_references),
    "signed-url": Target(check_signed_url, corpus.signed_urls),
    "metadata": Target(check_metadata, corpus.metadata),
    "archive": Target(check_archive, corpus.archives),
}
