"""The file with registry credentials: readable, sound, and readable to nobody else. No secret of it is shown."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from config.settings import Settings
from sandbox.docker.credentials import registry_login
from sandbox.errors import SandboxError
from worker import compose_engine
from worker.preflight.lines import Lines, failed, ok, warning

_NAME = "registry"


def look_at_credentials(settings: Settings) -> Lines:
    """The file, and each registry in it; no registry is asked."""
    path = compose_engine.registry_auth(settings)
    if not path.exists():
        if settings.worker_registry_auth:
            yield failed(_NAME, f"there is no file {path}", "Correct WORKER_REGISTRY_AUTH, or: docker login")
        else:
            yield ok(_NAME, "no credentials: public images only")
        return
    try:
        config = json.loads(path.read_bytes())
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        found = f"{path} is no JSON" if isinstance(error, ValueError) else f"{path} cannot be read: {error.strerror}"
        yield failed(_NAME, found, f"mv {path} {path}.broken && docker login, as the user that the worker runs as")
        return
    if not isinstance(config, dict):
        yield failed(_NAME, f"{path} holds no JSON object", f"mv {path} {path}.broken && docker login")
        return
    yield from _logins(path, config, open_to_others=bool(mode & (stat.S_IRWXG | stat.S_IRWXO)))


def _logins(path: Path, config: Mapping[str, object], *, open_to_others: bool) -> Lines:
    auths = config.get("auths")
    registries = sorted(map(str, auths)) if isinstance(auths, dict) else []
    inline = isinstance(auths, dict) and any(auths.values())
    if inline and open_to_others:
        yield warning(_NAME, f"{path} holds passwords, and others on this host may read it", f"chmod 600 {path}")
    for helper in _helpers(config):
        if shutil.which(f"docker-credential-{helper}") is None:
            mend = f"Install docker-credential-{helper}, or take it out of {path}."
            yield failed(_NAME, f"{path} names the credential helper {helper}, which is not on the PATH", mend)
            return
    for registry in registries:
        try:
            registry_login(f"{_host(registry)}/check", path)
        except SandboxError as error:
            yield failed(_NAME, str(error), f"docker logout {registry} && docker login {registry}")
            return
    yield ok(_NAME, f"{path}: {', '.join(map(_host, registries)) or 'no registry'}")


def _helpers(config: Mapping[str, object]) -> set[str]:
    by_registry = config.get("credHelpers")
    named = by_registry.values() if isinstance(by_registry, dict) else ()
    return {str(name) for name in (*named, config.get("credsStore")) if name}


def _host(registry: str) -> str:
    """The registry's host out of a key such as `https://index.docker.io/v1/`."""
    return registry.removeprefix("https://").removeprefix("http://").partition("/")[0]
