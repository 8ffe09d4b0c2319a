"""A competition of the tests: bundles in the store, and run messages that use or abuse them."""

from __future__ import annotations

import io
import itertools
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import yaml

from worker.demo.blobs import BlobStore
from worker.demo.competition import SLOTS, zipped

SCORE = b"""
import pathlib, sys
given, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
truth, answer = (given / "ref" / "truth.txt").read_text(), (given / "res" / "answer.txt").read_text()
(output / "scores.txt").write_text(f"correct: {int(truth == answer)}\\n")
(output / "detailed_results.html").write_text("<p>details</p>")
print("scored"); print("scoring remark", file=sys.stderr)
"""
PROGRAM = {"metadata": b"command: python3 $program/score.py $input $output\n", "score.py": SCORE}
REF = {"truth.txt": b"42"}
CROWD = "(for i in $(seq 64); do sleep 60 & done) 2> /dev/null"
"""Comes up to a limit of 64 processes, and goes on."""
CROWDED = b"your program came up to the limit of 64 processes and threads: no more could be started"
ANSWER = "printf 42 > /mnt/out/answer.txt; echo predicted; echo participant remark >&2"
# Other than those of earlier sessions, whose last updates may still lie in the site's queue.
_numbers = itertools.count(time.time_ns() // 1_000_000)


class Store(Protocol):
    """A store of blobs with names `CONTAINER/PATH`, which signs URLs of them: Azure's or S3."""

    def put(self, name: str, data: bytes) -> None: ...

    def get(self, name: str) -> bytes: ...

    def exists(self, name: str) -> bool: ...

    def url(self, name: str, permissions: Literal["r", "cw"] = "r", expires_in: float = 3600) -> str: ...


@dataclass(frozen=True, eq=False)
class Submission:
    """One run: its message, and what of it came to the store."""

    task_id: int
    task_args: dict[str, Any]
    store: Store
    folder: str

    def blob(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def has(self, name: str) -> bool:
        return self.store.exists(self.blob(name))

    def read(self, name: str) -> bytes:
        return self.store.get(self.blob(name))

    def text(self, name: str) -> str:
        return self.read(name).decode()

    def archive(self, name: str = "output.zip") -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(self.read(name))) as archive:
            return {entry: archive.read(entry) for entry in archive.namelist()}

    def metadata(self) -> dict[str, Any]:
        document = yaml.safe_load(self.archive()["metadata"])
        assert isinstance(document, dict)
        return document


class Competition:
    """Makes submissions whose blobs lie in one container of the store."""

    def __init__(self, store: Store, container: str, image: str, blob_endpoint: str | None = None) -> None:
        self.store = store
        self.container = container
        self.image = image
        self._signer: Store = BlobStore(blob_endpoint) if blob_endpoint else store

    def docker_submission(self, script: str = ANSWER, **changes: Any) -> Submission:
        """A participant's container that runs that shell script; `changes` are of `submission`."""
        quoted = "'" + script.replace("'", "'\\''") + "'"
        changes.setdefault("submit_docker_command", f"docker run {self.image} sh -c {quoted}")
        return self.submission(**changes)

    def submission(
        self,
        *,
        bundles: Mapping[str, bytes | None] | None = None,
        documents: Mapping[str, Mapping[str, str]] | None = None,
        **task_args: Any,
    ) -> Submission:
        """A scoring run. `bundles` replaces what is stored under those names (None: nothing is), `documents`
        the lines of run.txt and input.txt, the rest keys of the message (None leaves one out)."""
        task_id = next(_numbers)
        folder = f"{self.container}/{task_id}"
        stored = {"program.zip": zipped(PROGRAM), "ref.zip": zipped(REF), **(bundles or {})}
        lines = {
            "run.txt": {"program": "program.zip", "input": "input.txt"},
            "input.txt": {"ref": "ref.zip", "res": "res.zip"},
            **(documents or {}),
        }
        for name, keys in lines.items():
            text = "".join(f"{key}: {self.url(folder, value) if value else ''}\n" for key, value in keys.items())
            stored.setdefault(name, text.encode())
        for name, data in stored.items():
            if data is not None:
                self.store.put(f"{folder}/{name}", data)
        return Submission(task_id, self._task_args(task_id, folder, task_args), self.store, folder)

    def url(self, folder: str, name: str, permissions: str = "r") -> str:
        if "://" in name:
            return name
        return self._signer.url(f"{folder}/{name}", "cw" if permissions == "cw" else "r", 3600)

    def _task_args(self, task_id: int, folder: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        task_args = {
            "submission_id": task_id,
            "bundle_url": self.url(folder, "run.txt"),
            "docker_image": self.image,
            "ingestion_program_docker_image": self.image,
            "submit_docker_command": "this is not a docker submission",
            "predict": False,
            "secret": f"secret-of-{task_id}",
            "execution_time_limit": 60,
            **{slot: self.url(folder, name, "cw") for slot, name in SLOTS.items()},
            "ingestion_program_output_url": "",
            "ingestion_program_stderr_url": "",
            **changes,
        }
        return {key: value for key, value in task_args.items() if value is not None}
