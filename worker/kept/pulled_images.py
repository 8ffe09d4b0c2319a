"""Which images this worker pulled, and when each was last used: kept on disk, for they outlive the process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from worker.kept.atomic import write_whole

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image by its id; `names` are what it was pulled as, `used` is epoch seconds."""

    id: str
    names: frozenset[str]
    used: float


class PulledImages:
    """What is in the file, which this worker alone writes. A damaged file is an empty one: nothing is removed then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._images = _read(file)

    def __contains__(self, image: str) -> bool:
        return image in self._images

    def oldest_first(self) -> list[PulledImage]:
        """Least recently used first."""
        return sorted(self._images.values(), key=lambda image: image.used)

    def use(self, image: str, name: str, now: float) -> None:
        """It was pulled, or used again, under that name."""
        known = self._images.get(image)
        self._images[image] = PulledImage(image, (known.names if known else frozenset()) | {name}, now)
        self._write()

    def forget(self, image: str) -> None:
        """It is gone."""
        self._images.pop(image, None)
        self._write()

    def _write(self) -> None:
        images = {image.id: {"names": sorted(image.names), "used": image.used} for image in self._images.values()}
        try:
            write_whole(self._file, json.dumps(images).encode(), durable=False)
        except OSError as error:
            _log.warning("which images were pulled could not be noted", reason=str(error))


def _read(file: Path) -> dict[str, PulledImage]:
    try:
        found = json.loads(file.read_bytes())
        return {image: _pulled(image, facts) for image, facts in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _log.warning("which images were pulled is no longer known; they stay", file=str(file), reason=str(error))
        return {}


def _pulled(image: str, facts: dict[str, Any]) -> PulledImage:
    return PulledImage(image, frozenset(map(str, facts["names"])), float(facts["used"]))
