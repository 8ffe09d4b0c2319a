"""Nothing that is secret shows where others look: logs, uploads, tracebacks, containers, process lists."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import docker
import psutil
import pytest

from protocol.run import Role
from tests.support.command_line import codalab_worker, message
from tests.support.competition import PROGRAM, Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import QUEUE, PrivateQueue, gated, statuses
from tests.support.run_queue import RunQueue
from tests.support.site import Update
from tests.support.waiting import wait_until
from worker.demo import images, registry
from worker.demo.competition import zipped
from worker.demo.parts import Parts
from worker.demo.registry import ProtectedRegistry

pytestmark = pytest.mark.acceptance

# What a container can find out about itself.
CURIOUS = (
    "env; cat /proc/*/cmdline /proc/*/environ /proc/mounts | tr '\\0' '\\n'; find /mnt; printf 42 > /mnt/out/answer.txt"
)
CURIOUS_PROGRAM = """
env; cat /proc/*/cmdline /proc/*/environ /proc/mounts | tr '\\0' '\\n'
until [ -e /codalab/run/temp/gate ]; do sleep 0.02; done
"""
Texts = dict[str, str]


@pytest.fixture
def door(client: docker.DockerClient, parts: Parts) -> Iterator[ProtectedRegistry]:
    images.push_base(client, parts.registry)
    with registry.protected() as door:
        yield door


@pytest.fixture
def credentials(door: ProtectedRegistry, tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    login = base64.b64encode(f"{door.user}:{door.password}".encode()).decode()
    path.write_text(json.dumps({"auths": {door.address: {"auth": login}}}))
    return path


def test_no_secret_shows_of_runs_that_end_well_or_badly(
    private_queue: PrivateQueue,
    competition: Competition,
    events: EngineEvents,
    client: docker.DockerClient,
    door: ProtectedRegistry,
    credentials: Path,
) -> None:
    seen: Texts = {}
    good = watched_submission(competition, f"{door.address}/{images.BASE}")
    with private_queue.worker(LOG_LEVEL="DEBUG", WORKER_REGISTRY_AUTH=str(credentials)) as worker:
        run = private_queue.publish(good)
        seen |= container_texts(client, events.wait(run, "start").container, Role.PARTICIPANT)
        private_queue.open_gate()
        seen |= container_texts(client, events.wait(run, "start", Role.SCORING).container, Role.SCORING)
        (temp,) = worker.temp_dir.glob("runs/*/run/temp")
        (temp / "gate").touch()
        assert statuses(private_queue.end_of(good)) == ["running", "finished"]
        bad = list(bad_submissions(competition, door))
        for submission in bad:
            private_queue.publish(submission)
            assert private_queue.end_of(submission)[-1].status == "failed"
        cut_short = json.dumps({"task": "compute_worker_run", "args": json.loads(message(good))}).encode()[:-3]
        RunQueue(private_queue.owner, QUEUE).publish(cut_short)
        worker.wait_for_event("message rejected")
        seen["worker's command line"] = Path(f"/proc/{worker.process.pid}/cmdline").read_text()
    seen["log"] = worker.log.read_text()
    for submission in (good, *bad):
        seen |= told(submission, private_queue.so_far(submission)) | uploaded(submission)
    assert "NVIDIA_VISIBLE_DEVICES" in seen[f"{Role.PARTICIPANT}: environ"]
    assert "NVIDIA_VISIBLE_DEVICES" in seen[f"{good.task_id}: stdout.txt"]
    check(seen, secrets(private_queue, door, good, *bad))


def test_no_secret_shows_on_a_terminal(
    competition: Competition, private_queue: PrivateQueue, door: ProtectedRegistry, tmp_path: Path
) -> None:
    settings = {**private_queue.settings, "LOG_LEVEL": "DEBUG"}
    for submission in islice(bad_submissions(competition, door), 3):
        done = codalab_worker("exec", "--json", "-", stdin=message(submission), settings=settings, folder=tmp_path)
        check({"stdout": done.stdout, "stderr": done.stderr}, secrets(private_queue, door, submission))


def watched_submission(competition: Competition, image: str) -> Submission:
    """Both of its containers tell what they know of themselves, and wait to be looked at."""
    content = {"metadata": b"command: sh $program/run.sh\n", "run.sh": CURIOUS_PROGRAM.encode()}
    return competition.docker_submission(
        submit_docker_command=f'docker run {image} sh -c "{gated(then=CURIOUS)}"',
        bundles={"program.zip": zipped({**PROGRAM, **content})},
    )


def bad_submissions(competition: Competition, door: ProtectedRegistry) -> Iterator[Submission]:
    """Runs that fail at each place that is reached with a secret."""
    yield competition.docker_submission(submit_docker_command=f"{door.address}/team/none:1")
    yield competition.docker_submission("echo https://u:p@host/x?sig=theirs >&2; exit 3")
    for key in ("bundle_url", "stdout_url", "output_url"):
        submission = competition.docker_submission()
        submission.task_args[key] = submission.task_args[key].replace("sig=", "sig=x")
        yield submission
    submission = competition.docker_submission()
    submission.task_args["output_url"] = submission.task_args["output_url"].replace("http://", "ftp://")
    yield submission


def container_texts(client: docker.DockerClient, container: str, role: Role) -> Texts:
    """What the host's administrator sees of a running container."""
    inspected = client.api.inspect_container(container)
    first = psutil.Process(inspected["State"]["Pid"])
    wait_until(lambda: bool(first.children()))  # it is the runtime's own program for a moment
    seen = [process_texts(first)]
    for child in first.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # those that sleep for a moment come and go
            seen.append(process_texts(child))
    cmdlines, environs = zip(*seen, strict=True)
    return {
        f"{role}: inspect": json.dumps(inspected),
        f"{role}: cmdline": " ".join(cmdlines),
        f"{role}: environ": " ".join(environs),
    }


def process_texts(process: psutil.Process) -> tuple[str, str]:
    """Its command line and its environment."""
    return " ".join(process.cmdline()), " ".join(f"{name}={value}" for name, value in process.environ().items())


def told(submission: Submission, updates: list[Update]) -> Texts:
    """What the site shows to people of the updates."""
    texts = [update.traceback + json.dumps(update.metadata) for update in updates]
    return {f"{submission.task_id}: updates": "\n".join(texts)}


def uploaded(submission: Submission) -> Texts:
    stored = {name: submission.text(name) for name in ("stdout.txt", "stderr.txt") if submission.has(name)}
    if submission.has("output.zip"):
        stored |= {f"output.zip/{name}": data.decode() for name, data in submission.archive().items()}
    return {f"{submission.task_id}: {name}": text for name, text in stored.items()}


def secrets(queue: PrivateQueue, door: ProtectedRegistry, *submissions: Submission) -> set[str]:
    """All of them, in every form that they travel in."""
    plain = {queue.owner.broker_url.rpartition("@")[0].rpartition(":")[2], door.password}
    for submission in submissions:
        plain |= {submission.task_args["secret"], *signatures(*urls_of(submission))}
    login = base64.b64encode(f"{door.user}:{door.password}".encode()).decode()
    return plain | {quote(secret, safe="") for secret in plain} | {login}


def signatures(*urls: str) -> Iterator[str]:
    for url in urls:
        yield from parse_qs(urlsplit(url).query).get("sig", [])


def urls_of(submission: Submission) -> list[str]:
    """Those of the message, and those of the documents that its bundle begins with."""
    lines = (submission.text("run.txt") + submission.text("input.txt")).splitlines()
    return [*(value for key, value in submission.task_args.items() if key.endswith("_url")), *lines]


def check(texts: Texts, forbidden: set[str]) -> None:
    assert len(forbidden) > 10
    assert all(len(secret) > 8 for secret in forbidden)
    found = {(where, secret) for where, text in texts.items() for secret in forbidden if secret in text}
    assert not found
