"""The time limit of a real container holds to within a second, whatever the container does."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.docker.engine import DockerEngine
from sandbox.engine import ContainerSpec
from sandbox.errors import EngineUnreachable
from sandbox.logs import LogPair
from sandbox.outcome import ExitReason, Outcome
from sandbox.profile import SecurityProfile
from sandbox.runner import Sandbox
from sandbox.sweep import remove_leftovers
from sandbox.watchdog import Watchdog
from worker.demo import images
from worker.demo.engine import connect
from worker.demo.parts import Parts

pytestmark = [pytest.mark.integration, pytest.mark.alone]
MIB = 1 << 20
LIMIT, GRACE = 1.0, 0.5
PROFILE = SecurityProfile(memory=256 * MIB, cpus=1, pids=64, shm_size=16 * MIB, log_size=MIB)
LABELS = {"purpose": "watchdog-test"}

IGNORE = "trap '' TERM; "
HOSTILE = {
    "sleeps": IGNORE + "while :; do sleep 100; done",
    "spins": IGNORE + "while :; do :; done",
    "floods both streams": IGNORE + "yes & yes >&2",
    "floods without a newline": IGNORE + "cat /dev/zero & cat /dev/zero >&2",
    "closes its streams": IGNORE + "exec >&- 2>&-; while :; do sleep 100; done",
    "forks": IGNORE + "for i in 1 2 3 4 5 6 7 8; do (yes & yes >&2) & done; while :; do sleep 100; done",
    "leaves its children behind": IGNORE
    + "(setsid sh -c 'while :; do sleep 100; done' &) ; while :; do sleep 100; done",
    "stops itself": IGNORE + "kill -STOP $$; while :; do sleep 100; done",
    "fills its memory": IGNORE + "while :; do head -c 300000000 /dev/zero | tail >/dev/null; done",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    host = Parts.from_environment().docker_host
    with closing(connect(host)) as client:
        images.ensure_base(client)
    with closing(DockerEngine(host)) as engine:
        yield engine
        remove_leftovers(engine, LABELS)


def shell(script: str) -> ContainerSpec:
    return ContainerSpec(
        name=f"watchdog-{uuid.uuid4().hex[:12]}",
        image=images.BASE,
        profile=PROFILE,
        command=("/bin/sh", "-c", script),
        labels=LABELS,
    )


def run(engine: DockerEngine, script: str, folder: Path, grace: float = GRACE) -> tuple[Outcome, LogPair]:
    logs = LogPair.at(folder / "stdout", folder / "stderr", limit=100_000)
    with Sandbox(engine).container(shell(script)) as container:
        return container.run(time_limit=LIMIT, grace=grace, logs=logs), logs


@pytest.mark.parametrize("habit", HOSTILE)
def test_the_limit_holds_within_a_second(engine: DockerEngine, tmp_path: Path, habit: str) -> None:
    began = time.monotonic()
    outcome, logs = run(engine, HOSTILE[habit], tmp_path)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.TIME_LIMIT, 137)
    assert LIMIT + GRACE <= outcome.elapsed < LIMIT + GRACE + 1
    assert time.monotonic() - began < LIMIT + GRACE + 10  # the news of a flood's end comes late: docs/security.md
    for log in (logs.stdout, logs.stderr):
        assert log.path.stat().st_size <= 100_000 + 200
        assert (log.dropped > 0) == habit.startswith(("floods", "forks"))


def test_sigterm_comes_first_and_is_heeded(engine: DockerEngine, tmp_path: Path) -> None:
    script = "trap 'echo saved; exit 9' TERM; while :; do sleep 0.1; done"
    outcome, logs = run(engine, script, tmp_path, grace=30)
    assert (outcome.reason, outcome.exit_code) == (ExitReason.TIME_LIMIT, 9)
    assert LIMIT <= outcome.elapsed < LIMIT + 1
    assert logs.stdout.path.read_bytes() == b"saved\n"


def test_an_end_just_before_the_limit_is_an_end_by_itself(engine: DockerEngine, tmp_path: Path) -> None:
    outcome, _ = run(engine, f"sleep {LIMIT - 0.02}; exit 0", tmp_path)
    assert outcome.ok or outcome.elapsed >= LIMIT


def test_it_holds_though_nobody_reads_the_output(engine: DockerEngine) -> None:
    """The program is blocked by a full pipe, and the engine reports no end before its reader lets go."""
    container = engine.create(shell(HOSTILE["floods both streams"]))
    attachment = engine.attach(container)
    watchdog = Watchdog(engine, attachment.close)
    engine.start(container)
    watchdog.arm(container, time_limit=LIMIT, grace=GRACE)
    engine.wait(container, timeout=60)
    watchdog.ended()
    state = engine.inspect(container)
    attachment.close()
    assert state.started_at is not None
    assert state.finished_at is not None
    assert LIMIT + GRACE <= state.finished_at - state.started_at < LIMIT + GRACE + 1


def test_it_holds_though_the_engine_errs_at_first(engine: DockerEngine) -> None:
    class Faltering:
        tries = 0

        def signal(self, container: str, name: str) -> None:
            self.tries += 1
            if self.tries <= 3:
                raise EngineUnreachable("not now")
            engine.signal(container, name)

    container = engine.create(shell(HOSTILE["sleeps"]))
    watchdog = Watchdog(Faltering(), lambda: None)
    engine.start(container)
    watchdog.arm(container, time_limit=0.5, grace=0.2)
    engine.wait(container, timeout=60)
    watchdog.ended()
    assert engine.inspect(container).exit_code == 137
