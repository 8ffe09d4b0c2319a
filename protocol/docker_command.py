"""What `submit_docker_command` may say: an image, or the older form `docker run … IMAGE [ARG …]`.

No shell ever sees it; of the older form only what cannot weaken the sandbox is honoured (docs/message.md).
"""

from __future__ import annotations

import html
import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from protocol import docker_options, image_reference
from protocol.docker_options import Option, refused
from protocol.faults import ParticipantFault
from protocol.plain_text import has_control

DEFAULT_OUTPUT_TARGET = "/mnt/out"
INPUT_TARGET = "/mnt/in"
MAX_LENGTH = 8192

_PLACEHOLDER = "{}"
_NO_SUBMISSION = frozenset({"", "None", "null"})
_SENTINEL = "this is not a docker submission"
_RESERVED = ("/proc", "/sys", "/dev")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWABLE = re.compile(r"[A-Za-z0-9._/:-]{1,200}")  # no @, which a password may stand before


@dataclass(frozen=True, slots=True)
class DockerSubmission:
    """A participant's image and the harmless part of how it is to be started.

    `image` is as written, without the site's backslashes. `arguments` follow the image; None means the
    image's own CMD. `entrypoint` None means the image's own ENTRYPOINT, an empty one none at all.
    `output_target` is where the output folder is mounted. `input_folder_asked` is (folder of the host,
    path in the container) where one was named: it may be mounted, read-only, if and only if the folder
    is the operator's own participant input folder, and is to be refused otherwise.
    """

    image: str
    arguments: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_dir: str | None = None
    output_target: str = DEFAULT_OUTPUT_TARGET
    input_folder_asked: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Mounts:
    output_target: str = DEFAULT_OUTPUT_TARGET
    input_folder: tuple[str, str] | None = None


def parse(text: object) -> DockerSubmission | None:
    """The submission that the text asks for; None where it says that there is none.

    Raises `ParticipantFault` ("Your submission …"), naming the option or part that is refused.
    """
    if text is None:
        return None
    written = _plain(text)
    if _is_sentinel(written):
        return None
    words = _words(written)
    if words[:2] == ["docker", "run"]:
        return _run_form(words[2:])
    if len(words) != 1:
        raise ParticipantFault(
            "Your submission's docker command must be an image name alone, or begin with docker run."
        )
    return DockerSubmission(image=_image(words[0]))


def _plain(text: object) -> str:
    """The text as it was typed: HTML entities resolved, lines joined, non-breaking spaces made plain."""
    if not isinstance(text, str):
        raise ParticipantFault("Your submission's docker command is not a text.")
    if len(text) > MAX_LENGTH:
        raise ParticipantFault(f"Your submission's docker command is longer than {MAX_LENGTH} characters.")
    written = re.sub(r"\\\r?\n", " ", html.unescape(text)).replace("\xa0", " ").strip()
    if has_control(written, allow_lines=True):
        raise ParticipantFault("Your submission's docker command holds control characters.")
    return written


def _is_sentinel(written: str) -> bool:
    """In any case and spacing, and with the backslashes that the site puts before what a regex would read."""
    words = written.replace("\\", "").strip("\"'. ")
    return words in _NO_SUBMISSION or " ".join(words.split()).casefold() == _SENTINEL


def _words(written: str) -> list[str]:
    try:
        return shlex.split(written)
    except ValueError:
        raise ParticipantFault(
            "Your submission's docker command has a quotation mark or backslash without its other half."
        ) from None


def _run_form(words: Sequence[str]) -> DockerSubmission:
    options, rest = docker_options.split(words)
    if not rest:
        raise ParticipantFault("Your submission's docker command names no image.")
    mounts = _mounts([option for option in options if option.name == "volume"])
    return DockerSubmission(
        image=_image(rest[0]),
        arguments=tuple(word.replace(_PLACEHOLDER, mounts.output_target) for word in rest[1:]) or None,
        entrypoint=_entrypoint(options),
        environment=dict(_variable(option) for option in options if option.name == "env"),
        working_dir=_working_dir(options),
        output_target=mounts.output_target,
        input_folder_asked=mounts.input_folder,
    )


def _image(written: str) -> str:
    """Backslashes are no part of a name: the site escapes names as if for a regular expression."""
    image = written.replace("\\", "")
    try:
        image_reference.parse(image)
    except ValueError as error:
        shown = f" {image}" if _SHOWABLE.fullmatch(image) else ""
        raise ParticipantFault(f"Your submission's image{shown} is no image reference: {error}.") from None
    return image


def _mounts(options: Iterable[Option]) -> _Mounts:
    outputs: set[str] = set()
    inputs: set[tuple[str, str]] = set()
    for option in options:
        source, target = _volume(option)
        if source == _PLACEHOLDER:
            outputs.add(target)
        else:
            inputs.add((source, target))
    if len(outputs) > 1 or len(inputs) > 1:
        raise refused("-v", "but the output folder and the input folder can each be mounted only once")
    found = _Mounts(next(iter(outputs), DEFAULT_OUTPUT_TARGET), next(iter(inputs), None))
    _check_apart(found.output_target, found.input_folder[1] if found.input_folder else INPUT_TARGET)
    return found


def _volume(option: Option) -> tuple[str, str]:
    """`{}:PATH[:rw]` or `HOSTDIR:PATH[:ro]`; volumes by name and other modes are refused."""
    source, _, rest = option.value.partition(":")
    target, _, mode = rest.partition(":")
    wanted = {_PLACEHOLDER: ("", "rw")}.get(source, ("", "ro"))
    if mode not in wanted or not (source == _PLACEHOLDER or source.startswith("/")):
        raise refused(option.given, "which can only be {}:PATH, or the platform's input folder as FOLDER:PATH:ro")
    source = source if source == _PLACEHOLDER else _container_path(option, source)
    return source, _container_path(option, target)


def _container_path(option: Option, path: str) -> str:
    """The path, absolute and without `..`, and not where the kernel's own file systems are."""
    if not path.startswith("/") or ".." in path.split("/") or has_control(path):
        raise refused(option.given, "which needs absolute paths without ..")
    normal = "/" + posixpath.normpath(path).strip("/")
    if normal == "/" or any(_is_within(normal, reserved) for reserved in _RESERVED):
        raise refused(option.given, "which cannot use /, /proc, /sys or /dev")
    return normal


def _check_apart(output: str, asked: str) -> None:
    """No mount in another: an engine cannot make a mount point in `/mnt/in`, which every container has."""
    folders = [output, *{asked, INPUT_TARGET}]
    if any(_is_within(one, other) for one, other in permutations(folders, 2)):
        raise refused("-v", f"but the output folder, the input folder and {INPUT_TARGET} must lie apart")


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _entrypoint(options: Iterable[Option]) -> tuple[str, ...] | None:
    values = [option.value for option in options if option.name == "entrypoint"]
    if not values:
        return None
    return (values[-1],) if values[-1] else ()


def _working_dir(options: Iterable[Option]) -> str | None:
    given = [option for option in options if option.name == "workdir"]
    if not given:
        return None
    return "/" if given[-1].value == "/" else _container_path(given[-1], given[-1].value)


def _variable(option: Option) -> tuple[str, str]:
    """KEY=VALUE; a KEY alone would mean a variable of the host, and there is none to give."""
    name, equals, value = option.value.partition("=")
    if not equals or not _ENVIRONMENT_NAME.fullmatch(name):
        raise refused(option.given, "which needs the form KEY=VALUE")
    return name, value
