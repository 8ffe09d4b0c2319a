"""The note of what runs, kept in the run folder, changed by one process at a time."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from worker.demo.places import run_folder
from worker.demo.service import Service


@dataclass
class State:
    """The parts that run, by name."""

    services: dict[str, Service] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Self:
        """Read the note; none, or one that a crash cut short, means that nothing runs."""
        try:
            known = json.loads(_note().read_text())
        except (FileNotFoundError, ValueError):
            return cls()
        return cls({name: Service.from_json(service) for name, service in known.items()})

    def save(self) -> None:
        """Write the note whole, or remove it with the last part."""
        if not self.services:
            _note().unlink(missing_ok=True)
            return
        draft = _note().with_suffix(".draft")
        draft.write_text(json.dumps({name: service.to_json() for name, service in self.services.items()}))
        draft.replace(_note())

    @staticmethod
    def remove_folder(name: str) -> None:
        """Remove the files of a part that has gone."""
        shutil.rmtree(run_folder() / name, ignore_errors=True)


@contextmanager
def locked_state() -> Iterator[State]:
    """Read the state while no other process may change it."""
    with (run_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield State.read()


def _note() -> Path:
    return run_folder() / "state.json"
