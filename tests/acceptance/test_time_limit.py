"""A container past its time limit is stopped in time, whatever it, its output or the broker does.

The engine's own events are the witness of when it started and was sent signals, and the kernel of when its last
process ended, never the worker. The engine tells of an end only when it has gone through the output that it
holds by then, line by line: under a flood of short lines that is seconds later.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import docker
import pytest

from protocol.run import Role
from tests.acceptance.conftest import Runner
from tests.support.bad_store import BadStore
from tests.support.competition import PROGRAM, Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.fault_proxy import FaultProxy
from tests.support.private_queue import PrivateQueue, statuses
from tests.support.process_end import end_of_processes
from tests.support.site import Update
from worker.demo.competition import zipped

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

LIMIT = 1
GRACE = 1  # WORKER_STOP_GRACE of the daemons here
TOLERANCE = 1.0
SENTENCE = f"was stopped: time limit of {LIMIT} s exceeded."
SLEEPS = "sleep 60"
IGNORES_SIGTERM = "trap '' TERM; while :; do sleep 60; done"

# What it does, and whether it ends at SIGTERM.
PROGRAMS = {
    "sleeps": (SLEEPS, True),
    "floods both streams": ("yes & yes >&2", True),
    "has closed its streams": (f"exec >&- 2>&-; {SLEEPS}", True),
    "has children that ignore SIGTERM": ("for i in 1 2 3; do (trap '' TERM; sleep 60) & done; wait", True),
    "ignores SIGTERM": (IGNORES_SIGTERM, False),
    "ignores SIGTERM and floods both streams": ("trap '' TERM; yes & while :; do yes >&2; done", False),
    "ignores SIGTERM with its streams closed": (f"exec >&- 2>&-; {IGNORES_SIGTERM}", False),
    "ignores SIGTERM with all its children": ("trap '' TERM; for i in 1 2 3; do sleep 60 & done; wait", False),
    "has suspended itself": ("kill -STOP $$", False),
}
BOTH = pytest.mark.parametrize(
    ("script", "heeds"), [(SLEEPS, True), (IGNORES_SIGTERM, False)], ids=["sleeps", "ignores SIGTERM"]
)


@pytest.mark.parametrize(("script", "heeds"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_submission_is_stopped_at_its_limit(
    run: Runner,
    competition: Competition,
    events: EngineEvents,
    client: docker.DockerClient,
    script: str,
    heeds: bool,
) -> None:
    submission = endless_submission(competition, script)
    message = run.publish(submission)
    started = events.wait(message, "start")
    ended = end_of_processes(client, started.container)
    updates = run.site.updates_until_end(submission.task_id)
    due = LIMIT if heeds else LIMIT + GRACE
    assert due <= ended.result(timeout=20) - started.time <= due + TOLERANCE
    if "yes" in script:  # whose end the engine tells late, so that one that has heeded SIGTERM may be sent SIGKILL, too
        events.wait(message, "kill", count=1 if heeds else 2)
        [first, *others] = events.of(message, "kill", Role.PARTICIPANT)
        assert first.signal == signal.SIGTERM
        assert LIMIT <= first.time - started.time <= LIMIT + TOLERANCE
        assert heeds or others[0].signal == signal.SIGKILL
    else:
        check_times(events, message, Role.PARTICIPANT, heeds=heeds)
    check_submission_blamed(submission, updates)
    assert not events.of(message, "create", Role.SCORING)


@BOTH
def test_a_scoring_program_is_stopped_too_and_the_organiser_named(
    run: Runner, competition: Competition, events: EngineEvents, script: str, heeds: bool
) -> None:
    content = {"metadata": b"command: sh $program/run.sh\n", "run.sh": f"echo so far\n{script}\n".encode()}
    bundles = {"program.zip": zipped({**PROGRAM, **content})}
    submission = competition.docker_submission(execution_time_limit=LIMIT, bundles=bundles)
    message = run.publish(submission)
    updates = run.site.updates_until_end(submission.task_id)
    check_times(events, message, Role.SCORING, heeds=heeds)
    assert statuses(updates) == ["running", "failed"]
    assert updates[-1].traceback.startswith(f"The organiser's scoring program {SENTENCE}")
    assert {"predicted", "so far"} <= set(submission.text("stdout.txt").splitlines())


@BOTH
@pytest.mark.parametrize("fault", [FaultProxy.cut, FaultProxy.black_hole], ids=["cut off", "a black hole"])
def test_the_limit_holds_while_the_broker_is(  # noqa: PLR0913, PLR0917 -- fixtures
    private_queue: PrivateQueue,
    proxy: FaultProxy,
    contest: Competition,
    store: BadStore,
    events: EngineEvents,
    fault: Callable[[FaultProxy], None],
    script: str,
    heeds: bool,
) -> None:
    submission = endless_submission(contest, script)
    stored = store.hold("PUT", submission.blob("stdout.txt"))  # so that no end is told before the fault
    with private_queue.worker(BROKER_URL=proxy.url):
        message = private_queue.publish(submission)
        events.wait(message, "start")
        private_queue.site.wait_for(submission.task_id, "running")
        fault(proxy)
        stored.let_go.set()
        events.wait(message, "destroy")
        private_queue.site.settle()
        assert statuses(private_queue.site.of(submission.task_id)) == ["running"]
        proxy.reset()
        proxy.let_through()
        updates = private_queue.end_of(submission)
    check_times(events, message, Role.PARTICIPANT, heeds=heeds)
    check_submission_blamed(submission, updates)
    assert len(events.of(message, "start")) == 1


def endless_submission(competition: Competition, script: str) -> Submission:
    return competition.docker_submission(f"echo so far; {script}", execution_time_limit=LIMIT)


def check_times(events: EngineEvents, message: str, role: Role, *, heeds: bool) -> None:
    """One SIGTERM at the limit, SIGKILL only after the grace, and the end within a second of what ended it."""
    started = events.wait(message, "start", role).time
    ended = events.wait(message, "die", role).time - started
    kills = events.of(message, "kill", role)
    assert [kill.signal for kill in kills] == ([signal.SIGTERM] if heeds else [signal.SIGTERM, signal.SIGKILL])
    after = [kill.time - started for kill in kills]
    assert LIMIT <= after[0] <= LIMIT + TOLERANCE
    due = LIMIT if heeds else LIMIT + GRACE
    assert due <= ended <= due + TOLERANCE


def check_submission_blamed(submission: Submission, updates: list[Update]) -> None:
    assert statuses(updates) == ["running", "failed"]
    assert updates[-1].traceback.startswith(f"Your submission {SENTENCE}")
    assert submission.text("stdout.txt").startswith("so far\n")
