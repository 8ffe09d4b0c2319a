"""The file with registry credentials: sound, private, and good for a login. No secret of it is shown."""

from __future__ import annotations

import json
import shlex
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.settings import Settings
from sandbox.docker.credentials import registry_login
from sandbox.docker.engine import DockerEngine
from sandbox.errors import EngineUnreachable, LoginRefused, RegistryUnreachable, SandboxError
from worker import compose_engine
from worker.preflight.engine import engine_of
from worker.preflight.lines import CheckLine, Lines, any_failed, failed, ok, warning

_NAME = "registry"


def look_at_credentials(settings: Settings) -> Lines:
    """The file, and a login to each registry in it, by the engine that will pull from there."""
    path = compose_engine.registry_auth(settings)
    lines = file_lines(path, wanted=settings.worker_registry_auth is not None)
    yield from lines
    if path.exists() and not any_failed(lines):
        yield from _logins(settings, path, _registries(json.loads(path.read_bytes())))


def file_lines(path: Path, *, wanted: bool) -> list[CheckLine]:
    """What the file itself shows; `wanted` where a setting names it. No registry is asked."""
    if not path.exists():
        if wanted:
            return [failed(_NAME, f"there is no file {path}", "Correct WORKER_REGISTRY_AUTH, or: docker login")]
        return [ok(_NAME, "no credentials: public images only")]
    try:
        config = json.loads(path.read_bytes())
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        found = f"{path} is no JSON" if isinstance(error, ValueError) else f"{path} cannot be read: {error.strerror}"
        mend = f"mv {path} {path}.broken && docker login, as the user that the worker runs as"
        return [failed(_NAME, found, mend)]
    if not isinstance(config, dict):
        return [failed(_NAME, f"{path} holds no JSON object", f"mv {path} {path}.broken && docker login")]
    return list(_about_file(path, config, open_to_others=bool(mode & (stat.S_IRWXG | stat.S_IRWXO))))


def _about_file(path: Path, config: Mapping[str, object], *, open_to_others: bool) -> Lines:
    auths = config.get("auths")
    if isinstance(auths, dict) and any(auths.values()) and open_to_others:
        yield warning(_NAME, f"{path} holds passwords, and others on this host may read it", f"chmod 600 {path}")
    for helper in _helpers(config):
        if shutil.which(f"docker-credential-{helper}") is None:
            mend = f"Install docker-credential-{helper}, or take it out of {path}."
            yield failed(_NAME, f"{path} names the credential helper {helper}, which is not on the PATH", mend)
            return
    registries = _registries(config)
    for registry in registries:
        try:
            registry_login(f"{registry}/any", path)
        except SandboxError as error:
            yield failed(_NAME, str(error), _mend(path, registry))
            return
    yield ok(_NAME, f"{path}: {', '.join(registries) or 'no registry'}")


def _logins(settings: Settings, path: Path, registries: Sequence[str]) -> Lines:
    if not registries:
        return
    with engine_of(settings) as engine:
        if engine is not None:
            yield from (_login(engine, registry, path) for registry in registries)


def _login(engine: DockerEngine, registry: str, path: Path) -> CheckLine:
    try:
        if not engine.log_in(registry):
            return warning(_NAME, f"{path} names {registry}, but has no credentials for it", _mend(path, registry))
    except LoginRefused as error:
        return failed(_NAME, f"{registry} refuses the credentials in {path}: {error}", _mend(path, registry))
    except (RegistryUnreachable, EngineUnreachable) as error:
        return warning(_NAME, f"the credentials for {registry} could not be tried: {error}", f"curl {registry}/v2/")
    except SandboxError as error:
        return failed(_NAME, str(error), _mend(path, registry))
    return ok(_NAME, f"{registry} takes the credentials")


def _mend(path: Path, registry: str) -> str:
    """The Docker client writes to files of one name only."""
    if path.name == "config.json":
        return shlex.join(["docker", "--config", str(path.parent), "login", registry])
    copy = shlex.join(["docker", "login", registry]) + " && cp ~/.docker/config.json "
    return copy + shlex.quote(str(path))


def _registries(config: Mapping[str, object]) -> list[str]:
    """Their hosts, each once, as a `docker login` takes them."""
    named = (config.get(key) for key in ("auths", "credHelpers"))
    return sorted({_host(str(name)) for part in named if isinstance(part, dict) for name in part})


def _helpers(config: Mapping[str, object]) -> set[str]:
    by_registry = config.get("credHelpers")
    named = by_registry.values() if isinstance(by_registry, dict) else ()
    return {str(name) for name in (*named, config.get("credsStore")) if name}


def _host(registry: str) -> str:
    """The registry's host out of a key such as `https://index.docker.io/v1/`."""
    return registry.removeprefix("https://").removeprefix("http://").partition("/")[0]
