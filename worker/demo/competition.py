"""A sample competition: images in the registry, bundles in the store, and the run message of one submission."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError

from worker.demo import images
from worker.demo.blobs import BlobStore

SAMPLE = Path(__file__).parent / "sample"
SLOTS = {
    "stdout_url": "stdout.txt",
    "stderr_url": "stderr.txt",
    "output_url": "output.zip",
    "private_output_url": "private_output.zip",
    "detailed_results_url": "detailed_results.html",
}
_DAY = 86400


@dataclass(frozen=True)
class Competition:
    """Where its images are (as the worker pulls them), and the blobs of its one submission."""

    store: BlobStore
    container: str
    participant_image: str
    scoring_image: str

    def message(self, task_id: int, time_limit: int = 60) -> list[object]:
        """`[task_id, task_args]`, as a CodaLab site sends it."""
        uploads = {slot: self.store.url(self.blob(name), "cw", _DAY) for slot, name in SLOTS.items()}
        arguments: dict[str, object] = {
            "submission_id": task_id,
            "bundle_url": self.store.url(self.blob("run.txt"), "r", _DAY),
            "docker_image": self.scoring_image,
            "ingestion_program_docker_image": self.scoring_image,
            "submit_docker_command": self.participant_image,
            "predict": False,
            "secret": "demo-secret",
            "execution_time_limit": time_limit,
            **uploads,
        }
        return [task_id, arguments]

    def blob(self, name: str) -> str:
        """The name of one of its blobs in the store."""
        return f"{self.container}/submission/{name}"


def make(client: docker.DockerClient, store: BlobStore, registry: str, container: str) -> Competition:
    """Builds the images, pushes them, and stores the bundles."""
    base = images.ensure_base(client)
    participant, scoring = f"{registry}/team/lesions:1", f"{registry}/organiser/scoring:1"
    recipe = (SAMPLE / "participant" / "Dockerfile").read_text().replace("python:3.11-slim", base)
    images.build(client, participant, recipe, files(SAMPLE / "participant"))
    client.images.get(base).tag(scoring)
    for tag in (participant, scoring):
        images.push(client, tag)
    competition = Competition(store, container, participant, scoring)
    _store_bundles(competition)
    return competition


def forget_images(client: docker.DockerClient, competition: Competition) -> None:
    """Drops the engine's own copies, so that the worker really has to pull."""
    for tag in (competition.participant_image, competition.scoring_image):
        try:
            client.images.remove(tag)
        except APIError as error:
            print(f"image {tag} stays: {error.explanation}")


def zipped(content: Mapping[str, bytes]) -> bytes:
    """Those files as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def files(folder: Path) -> dict[str, bytes]:
    """The files of a sample folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _store_bundles(competition: Competition) -> None:
    """The run document names program and input; the input document names reference data and results."""
    store, blob = competition.store, competition.blob
    store.make_container(competition.container)
    store.put(blob("program.zip"), zipped(files(SAMPLE / "program")))
    store.put(blob("ref.zip"), zipped(files(SAMPLE / "ref")))
    store.put(blob("input.txt"), f"ref: {store.url(blob('ref.zip'), 'r', _DAY)}\nres:\n".encode())
    run = {"program": "program.zip", "input": "input.txt"}
    lines = [f"{key}: {store.url(blob(name), 'r', _DAY)}\n" for key, name in run.items()]
    store.put(blob("run.txt"), "".join(lines).encode())
