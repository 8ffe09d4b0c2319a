"""What can go wrong with the sandbox itself; how a program ended is a value, `sandbox.outcome.Outcome`.

SandboxError
├── EngineUnreachable     nothing answers, it went away in mid-call, or it cannot work now: may pass
├── EngineRefused         the engine answered and will not do it: a bug of ours or of its set-up
├── ContainerLost         ended by the engine or its host, or gone: says nothing about its program
├── FolderUnseen          a folder to be mounted is none of the engine's host: the worker's set-up
├── GpuUnavailable        a GPU was asked for and this engine has none to give
├── RuntimeUnavailable    an OCI runtime was asked for that this engine cannot start containers by
├── LoginRefused          a registry does not take the credentials that are kept for it
├── Cancelled             nobody wants it any more: `sandbox.cancellation`
└── ImageError            `reference` is the image asked for
    ├── ImageNotFound     no such image, or none that we may see
    │   └── ImageNotHeld  the engine has it not, and may not pull
    ├── ImageInvalid      no valid image reference, or no usable image behind it
    └── RegistryUnreachable  the registry is slow, broken or away: another attempt may succeed

StartRefused              the image's maker's fault, not the sandbox's: ends as an `Outcome`
└── NoSuchUser            another container may be made without that user
"""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox could not do its work; says nothing about the program that was to run in it."""


class EngineUnreachable(SandboxError):
    """The engine does not answer, broke off, or cannot work now (shutting down, its disk full); passing."""


class EngineRefused(SandboxError):
    """The container engine refused a request that should have been good; lasting."""


class ContainerLost(SandboxError):
    """A container ended with its engine or host, or is gone: how its program would have ended nobody knows."""


class FolderUnseen(SandboxError):
    """The engine's host does not have a folder that a container should see; the message says what to do."""


class GpuUnavailable(SandboxError):
    """The engine has no GPU of the kind asked for; its own words are the message."""


class RuntimeUnavailable(SandboxError):
    """The engine has no such OCI runtime, or it does not work; the message names the mend."""


class LoginRefused(SandboxError):
    """A registry does not take the credentials that are kept for it; its own words are the message."""


class Cancelled(SandboxError):
    """Whoever asked for this does not want it any more."""


class ImageError(SandboxError):
    """An image could not be had; `reference` names it and the message says the registry's reason."""

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(f"{reference}: {reason}")
        self.reference = reference
        self.reason = reason


class ImageNotFound(ImageError):
    """The registry knows no such image, or does not show it to us."""


class ImageNotHeld(ImageNotFound):
    """The engine does not hold the image, and no image may be pulled."""


class ImageInvalid(ImageError):
    """The text is no image reference, or what the registry holds under it is no usable image."""


class RegistryUnreachable(ImageError):
    """The registry did not answer, answered with a fault, or took longer than the deadline; passing."""


class StartRefused(Exception):
    """The image's command cannot be started (none given, missing, not executable, no such user).

    The image's maker is to blame, so the runner turns this into an `Outcome`; `exit_code` is 126 or 127.
    `reason` is for that maker and names no path of the host; `detail`, the engine's own words, is for the log.
    """

    def __init__(self, reason: str, exit_code: int = 127, *, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.exit_code = exit_code
        self.detail = detail


class NoSuchUser(StartRefused):
    """The image has no user of the name in `ContainerSpec.user`; another container may be made without it."""
