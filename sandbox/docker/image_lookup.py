"""Whether the engine holds an image."""

from __future__ import annotations

from docker.errors import APIError, NotFound

from sandbox.docker.client import EngineClient
from sandbox.docker.errors import image_error, plain, translated
from sandbox.engine import Image


def find_image(api: EngineClient, reference: str) -> Image | None:
    """The image under that reference or id, if the engine holds it. Raises `ImageInvalid`."""

    def tell(error: APIError) -> Exception:
        return image_error(reference, plain(error), error.status_code)

    with translated("looking for an image", tell):
        try:
            found = api.inspect_image(reference)  # type: ignore[no-untyped-call]
        except NotFound:
            return None
        return Image(str(found["Id"]), reference)
