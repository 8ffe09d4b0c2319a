"""A folder in which `codalab-worker try` is tried, with something to put in and to score."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support import command
from tests.support.command import Ended
from tests.support.competition import PROGRAM, REF
from worker.demo.parts import Parts

MEMORY = "64m"
Files = Mapping[str, bytes]


def script(text: str) -> str:
    return f'docker run {{}} sh -c "{text}"'


@dataclass(frozen=True)
class TryFolder:
    """`settings` are those of the engine of the tests; `folder` holds `in`, `program` and `ref`."""

    settings: Mapping[str, str]
    folder: Path

    @classmethod
    def make(cls, parts: Parts, folder: Path) -> Self:
        settings = {
            "DOCKER_HOST": parts.docker_host,
            "SUBMISSION_TEMP_DIR": str(folder / "temp"),
            "WORKER_MEMORY_LIMIT": MEMORY,
            "WORKER_STOP_GRACE": "10s",
        }
        made = cls(settings, folder)
        made.put("in", {"numbers.txt": b"1 2 3"})
        made.put("program", PROGRAM)
        made.put("ref", REF)
        return made

    def put(self, name: str, files: Files) -> None:
        for path, data in files.items():
            place = self.folder / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)

    def arguments(self, image: str, *more: str, scored: bool = True) -> list[str]:
        return ["try", image, "--input", "in", *(("--program", "program", "--ref", "ref") if scored else ()), *more]

    def __call__(self, image: str, *more: str, scored: bool = True, **settings: str) -> Ended:
        return command.run(self.arguments(image, *more, scored=scored), {**self.settings, **settings}, self.folder)

    def text(self, name: str) -> str:
        return (self.folder / "try-output" / name).read_text()

    def archive(self) -> dict[str, bytes]:
        with zipfile.ZipFile(self.folder / "try-output" / "output.zip") as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def left_behind(self) -> list[str]:
        return names(Path(self.settings["SUBMISSION_TEMP_DIR"]))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
