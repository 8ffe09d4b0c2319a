"""What the docker SDK and the engine raise or say, told apart and put in the sandbox's own terms.

The engine answers 500 to almost anything, so most of this goes by the words. Measured with
engine 20.10 and SDK 7.2; the words of newer engines are the same where they are quoted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import urllib3.exceptions
from docker.errors import APIError, DockerException
from requests import RequestException, Timeout

from sandbox.errors import (
    EngineRefused,
    EngineUnreachable,
    GpuUnavailable,
    ImageInvalid,
    ImageNotFound,
    LoginRefused,
    NoSuchUser,
    RegistryUnreachable,
    SandboxError,
    StartRefused,
)

BROKEN_OFF = (RequestException, urllib3.exceptions.HTTPError, DockerException, OSError)
"""Everything that a call raises when the engine does not answer, or stops in the middle of an answer."""

_QUERY = re.compile(r"\?[^\s\"'<>]+")

_PASSING = (
    "no space left on device",
    "shutting down",
    "context deadline exceeded",
    "cannot connect to containerd",
)

# Whatever stands in none of these lists is the registry's or the network's fault. A reference holds no
# blank, so that nobody can be blamed or excused by the name of an image, but for single words below.
_NO_REFERENCE = (
    "invalid reference format",
    "must be lowercase",
    "invalid repository name",
    "invalid tag format",
    "cannot contain a scheme",
    "invalid index name",
    "invalid checksum digest",
)
_BROKEN_IMAGE = ("failed to register layer", "unsupported media type", "invalid tar header")
_NO_IMAGE = (
    "manifest unknown",
    "name unknown",
    "no such image",
    "not found",
    "does not exist",
    "denied",
    "no basic auth credentials",
    "unauthorized",
    "forbidden",
    "no matching manifest",
    "does not match the specified platform",
)

_NO_LOGIN = ("401 unauthorized", "403 forbidden", "no basic auth credentials", "unauthorized:", "denied:")

_NO_GPU = (
    "could not select device driver",
    "nvidia-container-cli",
    "error running hook",
    "error running prestart hook",
    "unresolvable cdi devices",
    "cdi device injection failed",
)
_NO_USER = ("unable to find user", "unable to find group")
_NO_START = (
    "no command specified",
    'exec: "',
    "exec format error",
    "not found in $path",
    "cannot mkdir: ",
    "chdir to cwd",
    "working directory",
    "not a directory",
    "too many levels of symbolic links",
)

# What an image's maker may read of why it does not start: of all else the engine says, any word may be a
# path of its host.
_READABLE = re.compile(
    r"no command specified|exec: \".*|exec format error|chdir to cwd.*|cannot mkdir: .*"
    r"|the working directory .*|unable to find (?:user|group) .*",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r'error mounting "[^"]*" to rootfs at "([^"]*)"')
_UNREADABLE = "the engine can make no container of its image"


@contextmanager
def translated(doing: str, tell: Callable[[APIError], Exception] | None = None) -> Iterator[None]:
    """Turns what the SDK raises inside the block into the sandbox's own exceptions.

    `tell` makes the exception of an answer that is an error; without it that is `EngineRefused`, or
    `EngineUnreachable` where the words say that it will pass.
    """
    try:
        yield
    except APIError as error:
        raise (tell(error) if tell else engine_error(doing, error)) from error
    except BROKEN_OFF as error:
        raise EngineUnreachable(f"The container engine did not answer while {doing}: {_reason(error)}") from error


@contextmanager
def tolerating(*statuses: HTTPStatus, words: str | None = None) -> Iterator[None]:
    """Takes answers of these statuses, or with these words, for success: what was asked for is so already."""
    try:
        yield
    except APIError as error:
        if error.status_code not in statuses and not (words and words in plain(error)):
            raise


def engine_error(doing: str, error: APIError) -> SandboxError:
    """An answer that is an error, where nothing better can be made of it."""
    words = plain(error)
    if error.status_code == HTTPStatus.SERVICE_UNAVAILABLE or _says(words, _PASSING):
        return EngineUnreachable(f"The container engine cannot work now ({doing}): {words}")
    return EngineRefused(f"The container engine refused while {doing}: {words}")


def image_error(reference: str, words: str, status: int | None = None) -> SandboxError:
    """Why a pull failed, from the engine's words (in its answer or within the stream) and its HTTP status."""
    words = without_queries(words)
    if _says(words, ("no space left on device",)):
        return EngineUnreachable(f"The engine's disk is full: {words}")
    if _says(words, _NO_REFERENCE + _BROKEN_IMAGE):
        return ImageInvalid(reference, words)
    if status == HTTPStatus.NOT_FOUND or _says(words, _NO_IMAGE):
        return ImageNotFound(reference, words)
    if status == HTTPStatus.BAD_REQUEST:
        return ImageInvalid(reference, words)
    return RegistryUnreachable(reference, words)


def login_error(registry: str, error: APIError) -> SandboxError:
    """Why a login failed: the registry refuses it, or could not be asked."""
    words = plain(error)
    if error.status_code == HTTPStatus.UNAUTHORIZED or _says(words, _NO_LOGIN):
        return LoginRefused(words)
    return RegistryUnreachable(registry, words)


def create_error(image: str, error: APIError) -> Exception:
    """Why a container could not be made: no such image, no command in it, or the engine refuses."""
    words = plain(error)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return ImageNotFound(image, words)
    if _says(words, _NO_START):
        return StartRefused(_readable(words), detail=words)
    return engine_error("making a container", error)


def start_error(error: APIError, *, wants_gpu: bool) -> Exception:
    """Whose fault it is that a container does not start: the image's, the GPU's or the engine's."""
    words = plain(error)
    # An image may call its command what it likes, so only what stands before its name tells of a GPU.
    if wants_gpu and _says(words.partition('exec: "')[0], _NO_GPU):
        return GpuUnavailable(words)
    if _says(words, _NO_USER):
        return NoSuchUser(_readable(words), exit_code=126, detail=words)
    if _says(words, _PASSING) or not _says(words, _NO_START):
        return engine_error("starting a container", error)
    code = 126 if _says(words, ("permission denied",)) else 127
    return StartRefused(_readable(words), exit_code=code, detail=words)


def plain(error: BaseException) -> str:
    """The engine's own words, without what the SDK puts around them."""
    words = error.explanation if isinstance(error, APIError) else None
    return without_queries(str(words or error).strip())


def _reason(error: BaseException) -> str:
    """What the system said, where that is at the bottom of it: SDK and libraries wrap it in their own words."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return plain(error)


def _causes(error: BaseException, depth: int = 6) -> Iterator[BaseException]:
    """The error and what is in it and beneath it."""
    yield error
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    for cause in inner if depth else ():
        if isinstance(cause, BaseException):
            yield from _causes(cause, depth - 1)


def timed_out(error: BaseException) -> bool:
    """True where the engine was silent for too long, whichever library says so."""
    causes = (error, *error.args, error.__cause__, error.__context__)
    return any(isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError, Timeout)) for cause in causes)


def without_queries(words: str) -> str:
    """Takes the queries off URLs: registries hand out layers by signed URLs, and errors quote them."""
    return _QUERY.sub("?…", words)


def _readable(words: str) -> str:
    """The part that tells an image's maker what to mend, without the paths of the engine's host."""
    if found := _NO_ROOM.search(words):
        return f"its image is in the way of a mount at {found[1]}"
    found = _READABLE.search(words)
    return found[0].removesuffix(": unknown") if found else _UNREADABLE


def _says(words: str, phrases: tuple[str, ...]) -> bool:
    lowered = words.lower()
    return any(phrase in lowered for phrase in phrases)
