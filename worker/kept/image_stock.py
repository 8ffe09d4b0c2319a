"""The images of the runs in work: had once for all who want one, kept while it is used, given up for want of room."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sandbox import images
from sandbox.cancellation import Cancellation
from sandbox.engine import ContainerEngine, Image
from sandbox.errors import SandboxError
from sandbox.images import PullPolicy
from sandbox.sharing import Shared
from worker.kept.pulled_images import PulledImage, PulledImages

Progress = Callable[[int, int], None]

PULL_DEADLINE = 3600.0  # seconds; an image of many GB over a slow line still comes

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Use:
    """What one run uses: names from before it asks for them, ids as they become known."""

    since: float = field(default_factory=time.monotonic)
    names: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)


class ImageStock:
    """Has images pulled, and knows which of the engine's were pulled by this worker and are used by no run."""

    def __init__(self, engine: ContainerEngine, memory: Path) -> None:
        self._engine = engine
        self._pulls: Shared[Image] = Shared()
        self._lock = threading.Lock()
        self._pulled = PulledImages(memory)
        self._uses: dict[str, _Use] = {}

    @contextmanager
    def kept_for(self, run: str) -> Iterator[None]:
        """While the block lasts what that run obtains is not given up."""
        with self._lock:
            known = self._uses.get(run)
            self._uses[run] = _Use(ids=known.ids if known else set())
        try:
            yield
        finally:
            with self._lock:
                del self._uses[run]

    def reserve(self, run: str, obtained: Iterable[Image]) -> None:
        """That run may yet go on with images that an earlier process obtained for it."""
        with self._lock:
            self._uses.setdefault(run, _Use()).ids.update(image.id for image in obtained)

    def release(self, run: str) -> None:
        """That run does not go on with what was reserved for it."""
        with self._lock:
            self._uses.pop(run, None)

    def obtain(
        self,
        run: str,
        reference: str,
        policy: PullPolicy,
        *,
        progress: Progress | None,
        cancellation: Cancellation,
        anew: bool = False,
    ) -> Image:
        """The image, for the run that `kept_for` was entered for; raises as `sandbox.images.obtain`.

        A registry is asked once for all who want it at the same time, but never before a run that wants it began:
        what a participant pushed and then submitted is what is run. Nor before this call, where it is wanted `anew`.
        """
        with self._lock:  # not while it is being given up
            use = self._uses[run]
            use.names.add(reference)

        def pull(shared: Cancellation) -> Image:
            return images.obtain(
                self._engine,
                reference,
                policy,
                deadline=PULL_DEADLINE,
                progress=progress,
                warn=_log.warning,
                cancellation=shared,
            )

        since = time.monotonic() if anew else use.since
        image = self._pulls.result(reference, pull, since=since, cancellation=cancellation)
        with self._lock:
            use.ids.add(image.id)
            if image.fetched or image.id in self._pulled:
                self._pulled.use(image.id, reference, time.time())
        return image

    def give_up_one(self) -> bool:
        """Removes the least recently used image that this worker pulled and nobody uses; False where there is none."""
        return any(self._give_up(image) for image in self._oldest_first())

    def _oldest_first(self) -> list[PulledImage]:
        with self._lock:
            return self._pulled.oldest_first()

    def _give_up(self, image: PulledImage) -> bool:
        """The lock is held, so that no run can come to want it meanwhile."""
        with self._lock:
            if any(image.id in use.ids or image.names & use.names for use in self._uses.values()):
                return False
            try:
                gone = self._engine.remove_image(image.id, image.names)
            except SandboxError as error:
                _log.warning("an image could not be removed", names=sorted(image.names), reason=str(error))
                return False
            if gone:
                _log.info("image removed to make room", names=sorted(image.names), id=image.id)
                self._pulled.forget(image.id)
            return gone
