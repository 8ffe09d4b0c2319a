"""One suite for both engines: what a test asks of the fake it asks of the real one, and the other way round."""

import itertools
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound

from sandbox.docker.engine import DockerEngine
from sandbox.engine import ContainerEngine, ContainerSpec, Stream
from sandbox.errors import RegistryUnreachable
from sandbox.logs import LogPair
from sandbox.profile import SecurityProfile
from sandbox.sweep import remove_leftovers
from sandbox.testing import FakeEngine, Program
from worker.demo import images
from worker.demo.engine import connect
from worker.demo.parts import Parts

MIB = 1 << 20
PROFILE = SecurityProfile(memory=128 * MIB, cpus=1, pids=128, shm_size=16 * MIB)


@dataclass
class Subject:
    """An engine, and how to have a program run on it. Everything made here carries `labels`."""

    engine: ContainerEngine
    labels: Mapping[str, str]
    pullable: str
    """A reference that its registry holds and the engine does not."""
    away: str
    """A reference whose registry does not answer."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def spec(self, program: Program, **changes: Any) -> ContainerSpec:
        number = next(self._numbers)
        spec = ContainerSpec(
            name=f"contract-{self.labels['run']}-{number}",
            image=self.image(program, number),
            profile=PROFILE,
            command=self.command(program),
            working_dir="/etc/passwd" if program.refusal else None,
            labels=self.labels,
        )
        return replace(spec, **changes)

    def image(self, program: Program, number: int) -> str:
        raise NotImplementedError

    def command(self, program: Program) -> tuple[str, ...]:
        raise NotImplementedError


class FakeSubject(Subject):
    engine: FakeEngine

    def image(self, program: Program, number: int) -> str:
        self.engine.programs[f"program:{number}"] = program
        return f"program:{number}"

    def command(self, program: Program) -> tuple[str, ...]:
        del program
        return ("run",)


class RealSubject(Subject):
    def image(self, program: Program, number: int) -> str:
        del program, number
        return images.BASE

    def command(self, program: Program) -> tuple[str, ...]:
        return ("/bin/sh", "-c", script(program))


def script(program: Program) -> str:
    """The program in the words of a shell."""
    if program.oom_killed:
        return "exec python3 -c 'bytearray(1 << 30)'"
    lines = ["trap '' TERM"] if program.ignores_term else []
    if program.crowded:
        lines.append(f"(for i in $(seq {PROFILE.pids}); do sleep 9 & done) 2> /dev/null")
    for stream, data in program.output:
        octal = "".join(f"\\{byte:03o}" for byte in data)
        lines.append(f"printf '{octal}'" + (" >&2" if stream is Stream.STDERR else ""))
    lines.append("while :; do sleep 1000; done" if program.duration is None else f"sleep {program.duration}")
    return "\n".join([*lines, f"exit {program.exit_code}"])


@pytest.fixture(scope="session")
def parts() -> Parts:
    """The real parts; where they are missing this fails, and says `make services`."""
    return Parts.from_environment()


@pytest.fixture(scope="session")
def real_engine(parts: Parts) -> Iterator[DockerEngine]:
    with closing(connect(parts.docker_host)) as client:
        images.ensure_base(client)
    with closing(DockerEngine(parts.docker_host)) as engine:
        yield engine


@pytest.fixture(scope="session")
def pushed(parts: Parts) -> Iterator[str]:
    """A reference that the registry holds and the engine forgets before each test that pulls it; nobody else's."""
    name = f"{parts.registry}/contract/{uuid.uuid4().hex[:12]}:1"
    with closing(connect(parts.docker_host)) as client:
        client.images.get(images.ensure_base(client)).tag(name)
        images.push(client, name)
        yield name
        with suppress(ImageNotFound):
            client.images.remove(name, noprune=True)


@pytest.fixture
def labels() -> dict[str, str]:
    return {"purpose": "contract-test", "run": uuid.uuid4().hex[:12]}


@pytest.fixture
def real(real_engine: DockerEngine, parts: Parts, pushed: str, labels: dict[str, str]) -> Iterator[RealSubject]:
    with closing(connect(parts.docker_host)) as client, suppress(ImageNotFound):
        client.images.remove(pushed, noprune=True)
    yield RealSubject(real_engine, labels, pullable=pushed, away="127.0.0.1:1/away:1")
    remove_leftovers(real_engine, labels)


@pytest.fixture
def fake(labels: dict[str, str]) -> FakeSubject:
    engine = FakeEngine(registry={"late:1": Program(), "away:1": RegistryUnreachable("away:1", "refused")})
    return FakeSubject(engine, labels, pullable="late:1", away="away:1")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
def subject(request: pytest.FixtureRequest) -> Subject:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Subject)
    return found


@pytest.fixture
def keeping(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Containers of this subject have their output kept by the engine, too."""
    monkeypatch.setattr("tests.contract.conftest.PROFILE", replace(PROFILE, log_size=MIB))
    return subject


@pytest.fixture
def logs(tmp_path: Path) -> LogPair:
    return LogPair.at(tmp_path / "stdout", tmp_path / "stderr", limit=MIB)
