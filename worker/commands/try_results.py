"""The folder that `codalab-worker try` leaves its results in, by the names that people expect."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from protocol.plain_text import scrubbed
from protocol.run import UploadSlot
from worker.set_up import SetUpError

NAMES: Mapping[UploadSlot, str] = MappingProxyType(
    {
        UploadSlot.STDOUT: "stdout.txt",
        UploadSlot.STDERR: "stderr.txt",
        UploadSlot.OUTPUT: "output.zip",
        UploadSlot.PRIVATE_OUTPUT: "private_output.zip",
        UploadSlot.DETAILED_RESULTS: "detailed_results.html",
    }
)
_MARK = ".codalab-worker-try"
_SCORES = "scores.txt"
_SHOWN = 16 * 1024  # bytes of scores


@dataclass(frozen=True, slots=True)
class TryResults:
    """That folder, ready to be written to."""

    folder: Path

    @classmethod
    def prepare(cls, folder: Path) -> TryResults:
        """Makes it, or clears the results of an earlier `try` out of it.

        Raises `SetUpError` where it cannot be written, or holds what `try` has not made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / _MARK).exists() and any(folder.iterdir()):
                raise SetUpError(
                    f"--out {folder} is not empty and not made by codalab-worker try: name another folder."
                )
            (folder / _MARK).touch()
            for name in NAMES.values():
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise SetUpError(f"--out {folder} cannot be written to: {error.strerror}.") from error
        return cls(folder)

    def files(self) -> list[str]:
        """The names of what a run left here."""
        return [name for name in NAMES.values() if (self.folder / name).exists()]

    def scores(self) -> str | None:
        """The beginning of scores.txt, fit for a terminal; None where the scoring program left none."""
        archive = self.folder / NAMES[UploadSlot.OUTPUT]
        if not archive.exists():
            return None
        with zipfile.ZipFile(archive) as opened:
            if _SCORES not in opened.namelist():
                return None
            with opened.open(_SCORES) as scores:
                return scrubbed(scores.read(_SHOWN).decode(errors="replace")).rstrip()
