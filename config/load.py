"""Reads the settings, once, from the environment and a `.env` file; says where each came from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from config.old_names import NOT_TAKEN_OVER, OLD_NAMES, Understood, understand
from config.settings import Settings

_OUR_PREFIXES = ("SUBMISSION_", "BROKER_", "CODALAB_")
_ALIKE = 0.85  # nearer than DOCKER_CONFIG, which is the Docker client's, is to any name of ours


REREADABLE = frozenset(
    {
        "log_level",
        "worker_allowed_images",
        "worker_pull_policy",
        "worker_default_time_limit",
        "dont_finalize_submission",
    }
)
"""Settings that SIGHUP has read again; each is looked at anew by every run. Registry credentials are, too."""


class SettingsError(Exception):
    """The settings cannot be used; one line for each fault, each naming its variable."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, the origin of each (`default`, `environment` or the file's name), and warnings."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


def load(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """The settings in force: the environment wins over `env_file` (default `.env` where there is one).

    Raises `SettingsError`, with a line that names each wrong or unknown variable but never its value.
    """
    environment = dict(os.environ if environ is None else environ)
    from_file, file_name = _read_file(env_file)
    given = {**from_file, **environment}
    _refuse_unknown(given)
    old = understand(given)
    given |= old.values
    known = {name: value for name in Settings.model_fields if (value := given.get(name.upper(), "")).strip()}
    origins = {
        name.upper(): "default" if name not in known else _origin(name.upper(), old, environment, file_name)
        for name in Settings.model_fields
    }
    warnings = (*old.warnings, *_look_alikes(given))
    return Loaded(_validate(known), origins, warnings)


def reread(running: Settings, fresh: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The running settings with what can change while runs are in work, and the names of what cannot but has."""
    changed = {name for name in Settings.model_fields if getattr(running, name) != getattr(fresh, name)}
    update = {name: getattr(fresh, name) for name in changed & REREADABLE}
    return running.model_copy(update=update), tuple(sorted(name.upper() for name in changed - REREADABLE))


def shown(settings: Settings) -> dict[str, str]:
    """Every setting as text, secrets masked, under its name in the environment."""
    return {name.upper(): _mask(getattr(settings, name)) for name in Settings.model_fields}


def _read_file(env_file: Path | None) -> tuple[dict[str, str], str]:
    path = env_file or Path(".env")
    if not path.is_file():
        if env_file:
            raise SettingsError(f"--env-file: there is no file {env_file}")
        return {}, ""
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}, str(path)


def _origin(name: str, old: Understood, environment: Mapping[str, str], file_name: str) -> str:
    written = old.sources.get(name, name)
    where = "environment" if environment.get(written, "").strip() else file_name
    return where if written == name else f"{where}: {written}"


def _refuse_unknown(given: Mapping[str, str]) -> None:
    names = [name.upper() for name in Settings.model_fields]
    known = {*names, *NOT_TAKEN_OVER}
    unknown = sorted(name for name in given if name.startswith("WORKER_") and name not in known)
    if unknown:
        raise SettingsError(
            "\n".join(f"{name} is no setting of this worker{_nearest(name, names)}" for name in unknown)
        )


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _look_alikes(given: Mapping[str, str]) -> Iterator[str]:
    """Names that may be meant for us, such as BROKER_UR: others' names are none of our business."""
    names = [name.upper() for name in Settings.model_fields]
    known = {*names, *NOT_TAKEN_OVER, *(old.name for old in OLD_NAMES)}
    for name in sorted(given.keys() - known):
        alike = difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)
        if alike or name.startswith(_OUR_PREFIXES):
            yield f"{name} is no setting of this worker and has no effect{_nearest(name, names)}"


def _validate(known: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(known)
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None


def _lines(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        name = str(fault["loc"][0]).upper() if fault["loc"] else ""
        message = fault["msg"].removeprefix("Value error, ")
        yield f"{name}: {message}" if name else message


def _mask(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return "********"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
