"""What the Docker client's `config.json` holds for a registry, and whether the registry takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from docker import auth
from docker.errors import DockerException, InvalidRepository

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import login_error, translated
from sandbox.errors import EngineRefused, ImageInvalid


def registry_login(reference: str, path: Path | None) -> dict[str, Any]:
    """The login to the reference's registry, inline or from a credential helper; empty where there is none.

    The file is to be read at each pull, for some tokens last but hours. Raises `ImageInvalid` where
    the reference names no registry, `EngineRefused` where the file is no such file or its helper fails.
    """
    registry = _registry(reference)
    if path is None or not path.exists():
        return {}
    try:
        config = json.loads(path.read_bytes())
        # Given nothing, the SDK would look into the home folder.
        login = auth.load_config(config_dict=config).resolve_authconfig(registry) if config else None
    except (OSError, ValueError, AttributeError, TypeError, DockerException) as error:
        # Not chained: such an error may quote the credentials.
        raise EngineRefused(f"The registry credentials in {path} cannot be used ({type(error).__name__}).") from None
    return dict(login or {})


def log_in(connect: Callable[[], EngineClient], registry: str, path: Path | None) -> bool:
    """Has the engine show the registry the credentials in the file; False where there are none.

    Raises `LoginRefused`, `RegistryUnreachable` where it cannot be asked, or `EngineRefused`: the file is broken.
    """
    login = registry_login(f"{registry}/any", path)
    if not login:
        return False
    with connect() as client, translated("logging in to a registry", partial(login_error, registry)):
        client.log_in(registry, login)
    return True


def _registry(reference: str) -> str:
    try:
        registry, name = auth.resolve_repository_name(reference)
    except (InvalidRepository, IndexError):
        raise ImageInvalid(reference, "invalid reference format") from None
    if not name:
        raise ImageInvalid(reference, "no image is named")
    return registry
