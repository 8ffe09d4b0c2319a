"""What `codalab-worker try` is asked to try, and its folders as the bundles of a site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml

from protocol import image_reference
from worker.archives.copying import copy_folder
from worker.archives.left_out import LeftOut
from worker.archives.pack import pack
from worker.commands.local_store import local_url
from worker.set_up import SetUpError

_NAMED = 3  # of the things that a folder must not hold


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try. `image` is what `submit_docker_command` may be; `time_limit` is in seconds.

    `input` plays the folder that an operator offers at /mnt/in. `program` and `ref` are the folders of a scoring
    program, which runs in `program_image`, else in the participant's; all are None where nothing is scored.
    """

    RUN_DOCUMENT: ClassVar[str] = "run.txt"
    """Name of the bundle that names the others."""

    image: str
    input: Path
    program: Path | None
    ref: Path | None
    program_image: str | None
    time_limit: float | None
    out: Path

    def folders(self) -> Mapping[str, Path]:
        """The folders that are read, by their options."""
        named = {"--input": self.input, "--program": self.program, "--ref": self.ref}
        return {option: path for option, path in named.items() if path}


def check(trial: Trial, temp_dir: Path) -> None:
    """Raises `SetUpError` for options that do not go together, and for a folder that would be copied into itself."""
    if (trial.program is None) != (trial.ref is None):
        raise SetUpError("--program and --ref belong together: a scoring program scores against a reference.")
    if trial.program_image is not None:
        if not trial.program:
            raise SetUpError("--program-image is the image of a scoring program: name that with --program.")
        if not image_reference.is_valid(trial.program_image):
            raise SetUpError("--program-image must be an image reference, such as python:3.12-slim.")
    for option, folder in trial.folders().items():
        for name, written in (("--out", trial.out), ("SUBMISSION_TEMP_DIR", temp_dir)):
            if written.resolve().is_relative_to(folder.resolve()):
                raise SetUpError(f"{name} must not lie in the folder of {option}: name one elsewhere.")


def stock(trial: Trial, bundles: Path, offered: Path) -> None:
    """Copies the folders: --input to `offered`, an empty folder, the others as bundles into `bundles`.

    Raises `SetUpError` for a folder that cannot be read, or that holds what no bundle can.
    """
    _take("--input", trial.input, lambda: copy_folder(trial.input, offered))
    if trial.program and trial.ref:
        _pack("--program", trial.program, bundles / "program.zip")
        _pack("--ref", trial.ref, bundles / "ref.zip")
        (bundles / "input.txt").write_text(_document(ref="ref.zip"))
        (bundles / trial.RUN_DOCUMENT).write_text(_document(program="program.zip", input="input.txt"))
    else:
        (bundles / trial.RUN_DOCUMENT).write_text(_document())


def _document(**bundles: str) -> str:
    """YAML of the kind in which a site names bundles."""
    return yaml.safe_dump({key: local_url(name).reveal() for key, name in bundles.items()})


def _pack(option: str, folder: Path, archive: Path) -> None:
    _take(option, folder, lambda: pack(folder, archive, compress=False))


def _take(option: str, folder: Path, copy: Callable[[], tuple[LeftOut, ...]]) -> None:
    """Copies a folder, all of it: what would silently be missing is what nobody would find out about here."""
    try:
        left_out = copy()
    except OSError as error:
        raise SetUpError(f"{option} {folder} cannot be copied: {error.strerror}.") from error
    if left_out:
        named = ", ".join(f"{entry.name} ({entry.reason})" for entry in left_out[:_NAMED])
        more = ", …" if len(left_out) > _NAMED else ""
        raise SetUpError(
            f"{option} {folder} holds what a bundle cannot: {named}{more}. Put files and folders there only."
        )
