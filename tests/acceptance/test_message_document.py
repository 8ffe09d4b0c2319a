"""The samples of docs/message.md, run as they stand there, and its table of what each container sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.errors import ImageNotFound

from protocol.run import UploadSlot
from tests.acceptance.conftest import Runner
from tests.support import document
from tests.support.competition import Competition, Submission
from tests.support.private_queue import PrivateQueue, statuses
from tests.support.worker_process import environment
from worker.demo import images
from worker.demo.competition import zipped
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance

PYTHON = "python:3.11-slim"
NAMES = [name.strip("`") for name in document.table("name")]
# Prints for each place in turn what can be done there; then user, capabilities and networks.
PROBE = b"""
for place in "$@"; do
    if [ ! -d "$place" ]; then echo -
    elif (: > "$place/.probe") 2> /dev/null; then rm "$place/.probe"; echo writable
    else echo read-only
    fi
done
id -u; sed -n 's/^CapEff:.0*//p' /proc/self/status; echo $(ls /sys/class/net)
"""
ORGANISERS = ["0", "cb", "eth0 lo"]  # root, with CHOWN, DAC_OVERRIDE, FOWNER, SETGID and SETUID
PARTICIPANTS = ["1000", "", "lo"]
PROBING = zipped({"metadata": f"command: sh $program/probe.sh {' '.join(NAMES)}\n".encode(), "probe.sh": PROBE})
HIDDEN = zipped({"answers.txt": b"hidden"})


@pytest.fixture
def model(client: docker.DockerClient, parts: Parts) -> Iterator[str]:
    """The participant's image, of the Dockerfile in the document; its base stands in where no registry has it."""
    base, tag = images.ensure_base(client), f"{parts.registry}/document-{uuid4().hex[:8]}/model:1"
    try:
        client.images.get(PYTHON)
        stand_in = False
    except ImageNotFound:
        stand_in = client.images.get(base).tag(PYTHON)
    files = {"predict.py": document.sample("predict.py").encode()}
    images.build(client, tag, document.sample("Dockerfile"), files)
    images.push(client, tag)
    yield tag
    client.images.remove(tag, force=True)
    if stand_in:
        client.images.remove(PYTHON)


def test_the_participants_image_is_scored_by_the_organisers_program(
    private_queue: PrivateQueue, competition: Competition, model: str
) -> None:
    program = {name: document.sample(name).encode() for name in ("metadata", "score.py")}
    submission = competition.submission(
        bundles={"program.zip": zipped(program), "ref.zip": zipped({"truth.txt": b"1 0 1"})},
        submit_docker_command=model,
    )
    with private_queue.worker() as worker:
        private_queue.open_gate("unused")  # makes the operator's folder
        (worker.temp_dir.parent / "input" / "cases.txt").write_text("a bb cccc")
        private_queue.publish(submission)
        updates = private_queue.end_of(submission)
    assert statuses(updates) == ["running", "finished"], updates[-1].traceback
    assert submission.archive()["scores.txt"] == b"accuracy: 0.6667\n"
    assert "3 cases answered\n" in submission.text("stdout.txt")


def seen(text: str, column: str, *, without: tuple[str, ...] = ()) -> list[str]:
    """Asserts that it printed the column of the table; `without` are names whose bundle such a run has not.

    Gives the lines after it."""
    expected = {name.strip("`"): row[column] for name, row in document.table("name").items()}
    lines = text.splitlines()
    assert dict(zip(NAMES, lines, strict=False)) == expected | dict.fromkeys(without, "-")
    return lines[len(NAMES) :]


def logs(competition: Competition, folder: str) -> dict[str, str]:
    """Places for the ingestion program's logs."""
    names = {UploadSlot.INGESTION_STDOUT: "ingestion.out", UploadSlot.INGESTION_STDERR: "ingestion.err"}
    return {
        slot: competition.store.url(f"{competition.container}/{folder}-{name}", "cw") for slot, name in names.items()
    }


def test_programs_of_a_scoring_run_see_what_the_table_says(run: Runner, competition: Competition) -> None:
    submission = competition.submission(
        bundles={"program.zip": PROBING, "res.zip": zipped({"a": b""}), "hidden.zip": HIDDEN},
        documents={
            "run.txt": {
                "program": "program.zip",
                "input": "input.txt",
                "ingestion_program": "program.zip",
                "hidden_ref": "hidden.zip",
            }
        },
        **logs(competition, "seen"),
    )
    assert statuses(run(submission)) == ["running", "finished"]
    assert seen(submission.text("stdout.txt"), "scoring program") == ORGANISERS
    ingestion = competition.store.get(f"{competition.container}/seen-ingestion.out").decode()
    assert seen(ingestion, "ingestion program") == ORGANISERS


def test_a_code_submission_sees_what_the_table_says(run: Runner, competition: Competition) -> None:
    submission = competition.submission(
        bundles={"program.zip": PROBING, "data.zip": zipped({"a": b""}), "hidden.zip": HIDDEN},
        documents={
            "run.txt": {
                "program": "program.zip",
                "input": "data.zip",
                "ingestion_program": "program.zip",
                "hidden_ref": "hidden.zip",
            }
        },
        predict=True,
        **logs(competition, "code"),
    )
    assert statuses(run(submission)) == ["running", "finished"]
    assert seen(submission.text("stdout.txt"), "code submission") == PARTICIPANTS
    ingestion = competition.store.get(f"{competition.container}/code-ingestion.out").decode()
    assert seen(ingestion, "ingestion program", without=("$predictions",)) == ORGANISERS


def test_a_docker_submission_sees_two_folders_and_an_empty_input(run: Runner, competition: Competition) -> None:
    submission = competition.docker_submission(
        "printf 42 > /mnt/out/answer.txt; ls -A /mnt /mnt/in; touch /mnt/in/x; ls -d /codalab; true"
    )
    assert statuses(run(submission)) == ["running", "finished"]
    theirs = submission.text("stdout.txt").split("===== scoring")[0].splitlines()[1:]
    assert theirs == ["/mnt:", "in", "out", "", "/mnt/in:"]
    assert "Read-only file system" in submission.text("stderr.txt")


def test_what_is_private_and_the_first_page_go_where_the_table_says(run: Runner, competition: Competition) -> None:
    leave = b"cd $1; mkdir private b; touch private/a.html b/a.html d.html scores.txt; echo shown > c.html\n"
    metadata = b"command: sh $program/leave.sh $output\n"
    submission = competition.submission(
        bundles={"program.zip": zipped({"metadata": metadata, "leave.sh": leave}), "res.zip": zipped({"a": b""})}
    )
    assert statuses(run(submission)) == ["running", "finished"]
    public, private = submission.archive(), submission.archive("private_output.zip")
    assert public.keys() == {"metadata", "scores.txt", "b/a.html", "c.html", "d.html"}
    assert private.keys() == public.keys() | {"private/a.html"}
    assert public["metadata"] == private["metadata"]
    assert submission.text("detailed_results.html") == "shown\n"


@pytest.fixture
def integrator(private_queue: PrivateQueue, tmp_path: Path) -> Path:
    """A folder with nothing but the settings, and the samples of the document."""
    folder = tmp_path / "integrator"
    folder.mkdir()
    for name in ("submit.sh", "publish.py"):
        (folder / name).write_text(document.sample(name))
    settings = {"BROKER_URL": private_queue.owner.broker_url, "WORKER_UPDATES_VHOST": private_queue.owner.vhost}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return folder


def sample(integrator: Path, submission: Submission, *words: str) -> str:
    """Runs a sample in that folder, where MESSAGE.json is the submission's; gives what it printed."""
    message = [submission.task_id, submission.task_args]
    (integrator / "MESSAGE.json").write_text(json.dumps(message))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        words,
        env=environment({"PATH": path}),
        cwd=integrator,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    ).stdout


def test_an_integrator_submits_by_command_and_by_pika(
    private_queue: PrivateQueue, competition: Competition, integrator: Path
) -> None:
    by_command, by_pika = competition.docker_submission(), competition.docker_submission()
    amqp = private_queue.owner.broker_url.replace("pyamqp:", "amqp:")
    updates_at = {"WORKER_UPDATES_VHOST": private_queue.owner.vhost, "WORKER_UPDATES_QUEUE": "submission-updates"}
    with private_queue.worker(**updates_at):
        assert sample(integrator, by_command, "sh", "-e", "submit.sh") == "running\nfinished\n"
        sample(integrator, by_pika, sys.executable, "publish.py", amqp)
        with private_queue.channel() as channel:
            arriving = channel.consume("submission-updates", auto_ack=True, inactivity_timeout=60)
            updates = [json.loads(body or b"{}")["args"] for _, _, body in islice(arriving, 4)]
    expected = [(run, status) for run in (by_command, by_pika) for status in ("running", "finished")]
    assert [(task_id, update["status"], secret) for task_id, update, secret in updates] == [
        (run.task_id, status, run.task_args["secret"]) for run, status in expected
    ]
    assert by_pika.archive()["scores.txt"] == b"correct: 1\n"
    assert json.loads((integrator / "run-message.schema.json").read_text())["title"] == "CodaLab run message"
