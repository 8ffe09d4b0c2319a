"""Names of settings of the two published workers (competitions-v1-compute-worker, codabench's compute_worker).

The nine that this worker shares with the first are settings of its own; here are the others, each with the setting
that takes its place. An old name works, with its meaning, and is named at the start with what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TRUE = {"1", "t", "true", "y", "yes", "on"}
_PODMAN = "unix:///run/user/1000/podman/podman.sock"


def _same(value: str) -> str | None:
    return value


def _when_true(meaning: str) -> Callable[[str], str | None]:
    return lambda value: meaning if value.strip().lower() in _TRUE else None


def _truth(value: str) -> str | None:
    return "true" if value.strip().lower() in _TRUE else "false"


def _socket_of(value: str) -> str | None:
    return _PODMAN if value.strip().lower() == "podman" else None


@dataclass(frozen=True, slots=True)
class OldName:
    """A name of another worker. `meaning` turns its value into one of `new`; None where ours needs no change."""

    name: str
    new: str
    meaning: Callable[[str], str | None] = _same
    note: str = ""


@dataclass(frozen=True, slots=True)
class Understood:
    """What old names mean here: values by new name, the old name that each came from, and what to tell."""

    values: Mapping[str, str]
    sources: Mapping[str, str]
    warnings: tuple[str, ...]


# An earlier line wins where two lead to the same setting.
OLD_NAMES = (
    OldName("MAX_CACHE_DIR_SIZE_GB", "SUBMISSION_CACHE_DIR_MAX_SIZE_IN_GB", note="SUBMISSION_CACHE_DIR turns it on"),
    OldName("CONTAINER_SOCKET", "DOCKER_HOST"),
    OldName("CONTAINER_ENGINE_EXECUTABLE", "DOCKER_HOST", _socket_of, "the engine is the one at that address"),
    OldName("GPU_DEVICE", "WORKER_GPUS"),
    OldName(
        "COMPETITION_CONTAINER_NETWORK_DISABLED",
        "WORKER_ORGANISER_NETWORK",
        _when_true("none"),
        "participants' containers have no network anyway",
    ),
    OldName("CODALAB_IGNORE_CLEANUP_STEP", "DONT_FINALIZE_SUBMISSION", _truth),
    OldName("COMPUTE_WORKER_NO_CLEANUP", "DONT_FINALIZE_SUBMISSION", _truth),
    OldName("BROKER_SSL_CA_CERTS", "BROKER_SSL_CA"),
    OldName("SERIALIZED", "LOG_FORMAT", _when_true("json")),
)

NOT_TAKEN_OVER = {
    "MAIN_BROKER_URL": "updates go to the broker of BROKER_URL, on WORKER_UPDATES_VHOST",
    "COMPETITION_CONTAINER_HTTP_PROXY": "containers get no variables of the worker's; set a proxy in the image",
    "COMPETITION_CONTAINER_HTTPS_PROXY": "containers get no variables of the worker's; set a proxy in the image",
    "COMPUTE_WORKER_DISABLE_LOG_UPLOAD": "logs go to the site; what it shows of them is set there",
    "COMPUTE_WORKER_DISABLE_PREDICTION_UPLOAD": "output goes to the site; what it shows of it is set there",
    "HUMAN_IN_THE_LOOP": "scores go to the site as soon as they are there; what it shows of them is set there",
    "WORKER_BUNDLE_URL_REWRITE": "signed URLs are used as they are; have the site sign a name that this host resolves",
}
"""Names without a counterpart here, and what to do instead; a warning, for they do no harm."""


def understand(given: Mapping[str, str]) -> Understood:
    """What the old names among `given` mean; no value is told. A new name that is set, too, wins."""
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    warnings: list[str] = []
    for old in OLD_NAMES:
        if not (value := given.get(old.name, "")).strip():
            continue
        meant = old.meaning(value)
        warnings.append(_told(old, meant, given.get(old.new, "")))
        if meant is not None and old.new not in values and not given.get(old.new, "").strip():
            values[old.new], sources[old.new] = meant, old.name
    warnings += [f"{name} has no meaning here: {why}" for name, why in NOT_TAKEN_OVER.items() if given.get(name)]
    return Understood(values, sources, tuple(warnings))


def _told(old: OldName, meant: str | None, newer: str) -> str:
    note = f" ({old.note})" if old.note else ""
    if not newer.strip():
        return f"{old.name} is an old name: write {old.new} instead{note}"
    if meant in {None, newer}:
        return f"{old.name} is an old name, and {old.new} is set, too: take {old.name} out"
    return f"{old.name} and {old.new} contradict each other: {old.new} holds; take {old.name} out{note}"
