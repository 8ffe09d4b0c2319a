"""Images whose user database would hold up the engine's start for some ten minutes, were it not looked at first."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox.engine import ContainerSpec
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason
from sandbox.profile import SecurityProfile
from sandbox.runner import Sandbox
from sandbox.testing import FakeEngine, Program
from worker.demo.engine import connect

# What stands at a path: a type of tar's, or the target of a link.
Files = Mapping[str, bytes | str]
HOLDING_UP: dict[str, Files] = {
    "a FIFO": {"etc/passwd": tarfile.FIFOTYPE},
    "a link to a FIFO": {"etc/passwd": "/pipe", "pipe": tarfile.FIFOTYPE},
    "a chain of links": {"etc/passwd": "../a", "a": "b/../c", "b": tarfile.DIRTYPE, "c": tarfile.FIFOTYPE},
    "a device": {"etc/passwd": tarfile.CHRTYPE},
}
HARMLESS: dict[str, Files] = {
    "none": {"etc": tarfile.DIRTYPE},
    "a file": {"etc/passwd": tarfile.REGTYPE},
    "a folder": {"etc/passwd": tarfile.DIRTYPE},
    "a link that leads nowhere": {"etc/passwd": "/none"},
    "a link to itself": {"etc/passwd": "/etc/passwd"},
}


def archive(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, kind in files.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = (tarfile.SYMTYPE, kind) if isinstance(kind, str) else (kind, "")
            entry.devmajor = 5  # 0:0 would be a whiteout of the engine's own
            made.addfile(entry)
    return buffer.getvalue()


@pytest.fixture
def imported(parts: Any) -> Iterator[Callable[[Files], str]]:
    """Makes an image of these files alone, which is gone in the end."""
    made: list[str] = []
    with closing(connect(parts.docker_host)) as client:

        def make(files: Files) -> str:
            made.append(json.loads(client.api.import_image_from_data(archive(files)))["status"])
            return made[-1]

        yield make
        for image in made:
            client.images.remove(image, force=True)


@pytest.mark.integration
@pytest.mark.parametrize("files", HOLDING_UP.values(), ids=HOLDING_UP)
@pytest.mark.parametrize("name", ["/etc/passwd", "/etc/group"])
def test_an_image_that_would_hold_up_its_start_is_not_started(
    real: Any, imported: Callable[[Files], str], logs: LogPair, files: Files, name: str
) -> None:
    image = imported({path.replace("etc/passwd", name[1:]): kind for path, kind in files.items()})
    spec = real.spec(Program(), image=image, command=("/none",), user="participant")
    with Sandbox(real.engine).container(spec) as container:
        outcome = container.run(time_limit=60, grace=1, logs=logs)
    assert (outcome.reason, outcome.elapsed) == (ExitReason.COULD_NOT_START, 0)
    assert outcome.note == f"{name} in its image is no regular file"


@pytest.mark.integration
@pytest.mark.parametrize("files", HARMLESS.values(), ids=HARMLESS)
def test_what_does_no_harm_is_left_to_the_engine(real: Any, imported: Callable[[Files], str], files: Files) -> None:
    container = real.engine.create(real.spec(Program(), image=imported(files), command=("/none",)))
    assert real.engine.obstacle(container) == ""


def test_each_image_is_looked_at_once(tmp_path: Path) -> None:
    looked: list[str] = []

    class Looking(FakeEngine):
        def obstacle(self, container: str) -> str:
            looked.append(self.containers[container].spec.image)
            return super().obstacle(container)

    sandbox = Sandbox(Looking({"good": Program(), "bad": Program(obstacle="/etc/passwd")}))
    profile = SecurityProfile(memory=1 << 20, cpus=1, pids=10, shm_size=1 << 20)
    reasons = []
    for number, image in enumerate(["good", "bad", "good", "bad"]):
        logs = LogPair.at(tmp_path / f"{number}.out", tmp_path / f"{number}.err", limit=100)
        with sandbox.container(ContainerSpec(f"c-{number}", image, profile)) as container:
            reasons.append(container.run(time_limit=5, grace=1, logs=logs).reason)
    assert reasons == [ExitReason.EXITED, ExitReason.COULD_NOT_START] * 2
    assert looked == ["good", "bad"]
