"""Images: their names, which of them are allowed, and how one is had."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

import tenacity

from sandbox.cancellation import Cancellation
from sandbox.engine import ContainerEngine, Image, PullProgress
from sandbox.errors import EngineUnreachable, ImageError, ImageNotHeld, RegistryUnreachable

_HUB = "docker.io"
_TRIES = 5


class PullPolicy(StrEnum):
    """When an image is fetched from its registry, though the engine may hold it already."""

    ALWAYS = "always"
    IF_NOT_PRESENT = "if-not-present"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ImageName:
    """The parts of an image reference, with what Docker puts in where they are left out."""

    registry: str
    path: str
    version: str

    @classmethod
    def parse(cls, reference: str) -> ImageName:
        """Reads `[registry/]path[:tag][@digest]`; the engine is left to refuse what is no valid reference."""
        named, _, digest = reference.partition("@")
        registry, path = _split_registry(named)
        path, colon, tag = path.partition(":")
        if registry == _HUB and "/" not in path:
            path = f"library/{path}"
        version = f"@{digest}" if digest else f":{tag if colon else 'latest'}"
        return cls(registry, path, version)

    def forms(self) -> tuple[str, ...]:
        """Fully qualified names, with and without the version."""
        name = f"{self.registry}/{self.path}"
        return (name, name + self.version)

    def short_forms(self) -> tuple[str, ...]:
        """The names that Docker's own registry may be left out of; none for another registry."""
        if self.registry != _HUB:
            return ()
        names = (self.path, self.path.removeprefix("library/"))
        return tuple(name + version for name in names for version in ("", self.version))


def allowed(reference: str, patterns: Sequence[str]) -> bool:
    """True where one of the shell-style patterns fits, or there is none at all.

    A pattern whose first part names a registry (it holds a dot or a colon, or is `localhost`), or
    begins with `*`, is held against the fully qualified name; any other stands for Docker's own
    registry, so that `team-*` does not let in `team-x.example.org/…`. The version may be left out.
    """
    name = ImageName.parse(reference)
    return not patterns or any(_fits(name, pattern) for pattern in patterns)


def obtain(
    engine: ContainerEngine,
    reference: str,
    policy: PullPolicy,
    *,
    deadline: float,
    progress: PullProgress | None = None,
    warn: Callable[[str], None] = lambda _: None,
    cancellation: Cancellation | None = None,
) -> Image:
    """The image to run, fetched as the policy says, within `deadline` seconds, tries and pauses included.

    `warn` is told where a pull failed but another run has brought the image meanwhile, which only
    `if-not-present` puts up with. `cancellation` cuts a pull short, and the pauses between tries.
    Raises `ImageNotFound` (`ImageNotHeld` under `never`), `ImageInvalid`, `RegistryUnreachable`, `EngineUnreachable`
    or `Cancelled`.
    """
    held = None if policy is PullPolicy.ALWAYS else engine.find_image(reference)
    if held is not None:
        return held
    cancellation = cancellation or Cancellation()
    if policy is PullPolicy.NEVER:
        raise ImageNotHeld(reference, "it is not on this host, and the pull policy is never")
    try:
        return _pull(engine, reference, deadline, progress, cancellation)
    except ImageError as error:
        held = None if policy is PullPolicy.ALWAYS else engine.find_image(reference)
        if held is None:
            raise
        warn(f"The image on this host is used, for its pull failed: {error}")
        return held


def _pull(
    engine: ContainerEngine,
    reference: str,
    deadline: float,
    progress: PullProgress | None,
    cancellation: Cancellation,
) -> Image:
    ends = time.monotonic() + deadline
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((RegistryUnreachable, EngineUnreachable)),
        stop=tenacity.stop_after_attempt(_TRIES) | tenacity.stop_before_delay(deadline),
        wait=tenacity.wait_exponential_jitter(initial=1, max=15),
        sleep=cancellation.sleep,
        reraise=True,
    )

    def pull() -> Image:
        left = max(0.1, ends - time.monotonic())
        return engine.pull(reference, deadline=left, progress=progress, cancellation=cancellation)

    return retrying(pull)


def _fits(name: ImageName, pattern: str) -> bool:
    first, slash, _ = pattern.partition("/")
    qualified = pattern.startswith("*") or (slash and _is_registry(first))
    forms = name.forms() if qualified else name.short_forms()
    return any(fnmatchcase(form, pattern) for form in forms)


def _split_registry(named: str) -> tuple[str, str]:
    first, slash, rest = named.partition("/")
    if slash and _is_registry(first):
        return (_HUB if first == f"index.{_HUB}" else first), rest
    return _HUB, named


def _is_registry(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost"
