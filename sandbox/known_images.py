"""What earlier starts have shown of images, so that a detour or a look is made once for each."""

from __future__ import annotations

import threading
from collections import OrderedDict

from sandbox.engine import ContainerEngine, ContainerSpec
from sandbox.errors import StartRefused

# Images known to be sound, or to lack the user asked for; enough for every competition of a site.
_REMEMBERED = 1000


class KnownImages:
    """The memory of one engine's images. Safe for several threads."""

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine
        self._lacking: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._obstacles: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def lacks_user(self, spec: ContainerSpec) -> bool:
        """True where an earlier start has shown that the image has no user of that name."""
        with self._lock:
            return (spec.image, spec.user or "") in self._lacking

    def remember_lack(self, spec: ContainerSpec) -> None:
        """Notes that the image has no such user, so that the detour is made once only."""
        with self._lock:
            self._lacking[spec.image, spec.user or ""] = None
            if len(self._lacking) > _REMEMBERED:
                self._lacking.popitem(last=False)

    def check_startable(self, image: str, container: str) -> None:
        """Looks, once for each image, whether a start would hang. Raises `StartRefused` where it would.

        The engine reads the users and groups of an image before anything else: of a FIFO, for some ten minutes.
        """
        with self._lock:
            obstacle = self._obstacles.get(image)
        if obstacle is None:
            obstacle = self._engine.obstacle(container)
            with self._lock:
                self._obstacles[image] = obstacle
                if len(self._obstacles) > _REMEMBERED:
                    self._obstacles.popitem(last=False)
        if obstacle:
            raise StartRefused(f"{obstacle} in its image is no regular file")
