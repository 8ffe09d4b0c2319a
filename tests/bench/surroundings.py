"""What every measurement stands on: the real parts, a vhost of its own, and runs to submit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from config.settings import Settings
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Management, Owner
from worker.demo import engine, images
from worker.demo.blobs import BlobStore
from worker.demo.parts import Parts

# As a CodaLab site writes it for a docker submission: there is no `res` to fetch.
_INPUT = {"input.txt": {"ref": "ref.zip", "res": ""}}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts, an account with a vhost that vanishes afterwards, a competition, and a folder for everything."""

    parts: Parts
    management: Management
    owner: Owner
    competition: Competition
    folder: Path

    def environment(self, **settings: str) -> dict[str, str]:
        """A worker's settings, all as in production but for these. Updates stay in our vhost: no site sees them."""
        return {
            "BROKER_URL": self.owner.broker_url,
            "DOCKER_HOST": self.parts.docker_host,
            "WORKER_UPDATES_VHOST": self.owner.vhost,
            **settings,
        }

    def settings(self, **settings: str) -> Settings:
        """The same as the worker would read them."""
        given = self.environment(**settings)
        return Settings.model_validate({name.lower(): value for name, value in given.items()})

    def small_run(self) -> Submission:
        """A docker submission that writes one number, and a scoring program that compares it."""
        return self.competition.docker_submission(documents=_INPUT)

    def stub_run(self, script: str = "echo 42 > /mnt/out/answer.txt", data: str = "", **changes: Any) -> Submission:
        """A prediction: one container, which is done at once. `data` is the URL of its input, if it has any."""
        bundles = {"program.zip": None, "ref.zip": None, "input.txt": None}
        documents = {"run.txt": {"program": "", "input": data}}
        return self.competition.docker_submission(
            script, bundles=bundles, documents=documents, predict=True, docker_image="", **changes
        )

    def stub_runs(self, count: int) -> list[Submission]:
        return [self.stub_run() for _ in range(count)]


@contextmanager
def surroundings(parts: Parts) -> Iterator[Surroundings]:
    """Makes them, and leaves nothing of them behind."""
    management = Management(parts.broker_api, parts.broker_url)
    store, container = BlobStore(parts.blob_endpoint), f"bench-{uuid4().hex[:8]}"
    with closing(engine.connect(parts.docker_host)) as client:
        image = images.push_base(client, parts.registry)
    store.make_container(container)
    try:
        with management.owner() as owner, tempfile.TemporaryDirectory(prefix="codalab-bench-") as folder:
            yield Surroundings(parts, management, owner, Competition(store, container, image), Path(folder))
    finally:
        store.delete_container(container)
