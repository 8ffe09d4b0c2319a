"""Removing an image that nobody else wants: by its names, and never by force."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from docker.errors import APIError, NotFound

from sandbox.docker.client import EngineClient
from sandbox.images import ImageName

_NAMELESS = "<none>:<none>"  # older engines say so of an image whose tag has moved on


def remove_image(api: EngineClient, image: str, names: Collection[str]) -> bool:
    """Says whether it is gone; False where a container uses it, or where somebody has given it another name.

    Parents stay, which are others' images. Raises the SDK's errors.
    """
    try:
        tags = _tags(api, image)
        if not set(tags) <= set(map(_whole, names)):
            return False
        for name in tags.values() or (image,):
            api.remove_image(name, noprune=True)
    except NotFound:
        return True
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise
        return False
    return True


def _tags(api: EngineClient, image: str) -> dict[str, str]:
    """Its names as the engine writes them, by their whole form."""
    found = api.inspect_image(image)["RepoTags"] or ()  # type: ignore[no-untyped-call]
    return {_whole(tag): tag for tag in found if tag != _NAMELESS}


def _whole(name: str) -> str:
    return ImageName.parse(name).forms()[1]
