"""The commands that need neither broker nor site: exec, config, and what they say where they cannot."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from sandbox.labels import WORKER
from tests.support.command_line import codalab_worker, json_lines, message
from tests.support.competition import Competition
from tests.support.engine_events import EngineEvents
from tests.support.private_queue import gated
from tests.support.worker_process import COMMAND, environment
from worker.demo import images
from worker.demo.parts import Parts
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="session")
def engine_only(parts: Parts) -> dict[str, str]:
    """All that exec needs to be told."""
    return {"DOCKER_HOST": parts.docker_host, "WORKER_STOP_GRACE": "1s"}


@pytest.mark.parametrize("form", ["a pair", "as the site holds it"])
def test_exec_works_a_message_file(
    competition: Competition, engine_only: dict[str, str], client: docker.DockerClient, tmp_path: Path, form: str
) -> None:
    submission = competition.docker_submission()
    held = {"id": submission.task_id, "task_args": submission.task_args}
    (tmp_path / "MESSAGE.json").write_text(message(submission) if form == "a pair" else json.dumps(held))
    done = codalab_worker("exec", "MESSAGE.json", settings=engine_only, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.OK, "running\nfinished\n", "")
    assert submission.archive()["scores.txt"] == b"correct: 1\n"
    assert list((tmp_path / "temp").iterdir()) == []
    left = client.containers.list(all=True, filters={"label": WORKER}, ignore_removed=True)
    assert not [one for one in left if str(tmp_path) in str(one.attrs["Mounts"])]


def test_exec_reads_standard_input_and_prints_each_update_as_a_line(
    competition: Competition, engine_only: dict[str, str], tmp_path: Path
) -> None:
    submission = competition.docker_submission("echo told; echo reason >&2; exit 3")
    text = message(submission)
    done = codalab_worker("exec", "--json", "-", stdin=text, settings=engine_only, folder=tmp_path)
    assert done.returncode == ExitCode.RUN_FAILED
    running, failed = json_lines(done.stdout)
    assert [update["task_id"] for update in (running, failed)] == [submission.task_id] * 2
    assert (running["status"], failed["status"]) == ("running", "failed")
    assert failed["extra"]["traceback"].startswith("Your submission")
    assert failed["extra"]["traceback"].endswith("reason")
    assert failed["extra"]["metadata"]["hostname"]
    assert submission.task_args["secret"] not in done.stdout + done.stderr


def test_exec_shows_the_reason_of_a_failure(
    competition: Competition, engine_only: dict[str, str], tmp_path: Path
) -> None:
    submission = competition.docker_submission("exit 3")
    done = codalab_worker("exec", "-", stdin=message(submission), settings=engine_only, folder=tmp_path)
    assert done.returncode == ExitCode.RUN_FAILED
    assert done.stdout.startswith("running\nfailed\nYour submission")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not JSON"),
        ("[]", "must have the arguments [task_id, task_args], not 0"),
        ('{"task_args": {}}', 'must be [task_id, task_args] or {"id": task_id, "task_args": {...}}'),
        ('[7, {"secret": "hush-hush"}]', "field bundle_url is missing"),
        ('[7, {"secret": "hush-hush", "bundle_url": "ftp://host/x?sig=hush-hush"}]', "field bundle_url"),
    ],
)
def test_a_message_that_is_none_is_a_matter_of_usage(
    engine_only: dict[str, str], tmp_path: Path, text: str, sentence: str
) -> None:
    for command in ("exec", "submit"):
        done = codalab_worker(command, "-", stdin=text, settings=engine_only, folder=tmp_path)
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "hush-hush" not in done.stderr


def test_a_message_file_that_is_not_there_is_a_matter_of_usage(engine_only: dict[str, str], tmp_path: Path) -> None:
    done = codalab_worker("exec", "NONE.json", settings=engine_only, folder=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "NONE.json" in done.stderr


def test_exec_needs_an_engine(competition: Competition, tmp_path: Path) -> None:
    text, away = message(competition.docker_submission()), f"unix://{tmp_path}/none.sock"
    done = codalab_worker("exec", "-", stdin=text, settings={"DOCKER_HOST": away}, folder=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.UNREACHABLE, "")
    assert done.stderr.startswith(f"No Docker engine answers at {away}: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_exec_leaves_no_container(
    competition: Competition,
    engine_only: dict[str, str],
    events: EngineEvents,
    client: docker.DockerClient,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    (tmp_path / "MESSAGE.json").write_text(message(competition.docker_submission(gated())))
    env = environment({"SUBMISSION_TEMP_DIR": str(tmp_path / "temp"), **engine_only})
    process = subprocess.Popen([*COMMAND, "exec", "MESSAGE.json"], env=env, cwd=tmp_path, stderr=subprocess.PIPE)
    started = events.start_below(tmp_path / "temp")
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.RUN_FAILED
    assert said == b"interrupted\n"
    assert client.containers.list(all=True, ignore_removed=True, filters={"id": started.container}) == []
    assert list((tmp_path / "temp").iterdir()) == []


@pytest.fixture
def unknown_image(parts: Parts, client: docker.DockerClient) -> str:
    """One that the engine must fetch."""
    tag = f"{parts.registry}/team/unknown:{uuid4().hex[:8]}"
    images.build(client, tag, f"FROM {images.ensure_base(client)}\nCOPY data /data\n", {"data": os.urandom(1 << 20)})
    images.push(client, tag)
    client.images.remove(tag)
    return tag


def test_progress_is_drawn_on_a_terminal_and_nowhere_else(
    competition: Competition, engine_only: dict[str, str], unknown_image: str, tmp_path: Path
) -> None:
    command = f"docker run {unknown_image} cp /etc/passwd /mnt/out/answer.txt"
    submission = competition.submission(submit_docker_command=command)
    (tmp_path / "MESSAGE.json").write_text(message(submission))
    terminal, end = pty.openpty()
    env = environment({"SUBMISSION_TEMP_DIR": str(tmp_path / "temp"), "TERM": "xterm", **engine_only})
    process = subprocess.Popen(
        [*COMMAND, "exec", "MESSAGE.json"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=end, text=True
    )
    os.close(end)
    drawn = read_all(terminal).decode()
    printed, _ = process.communicate(timeout=60)
    assert (process.returncode, printed) == (ExitCode.OK, "running\nfinished\n")
    for what in (f"pull {unknown_image}", "download", "upload stdout_url", "upload output_url"):
        assert what in drawn
    assert "━" in drawn
    assert "sig=" not in drawn


def read_all(terminal: int) -> bytes:
    """What is written to a terminal until nobody has it open any more, which shows as an error."""
    written = b""
    with suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            written += piece
    os.close(terminal)
    return written


def test_config_tells_values_and_where_they_came_from(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BROKER_URL=amqp://user:hush-hush@host/\nWORKER_CONCURRENCY=2\nUSE_GPU=False\n")
    settings = {"WORKER_CONCURRENCY": "3", "WORKER_LOG_LIMIT": "1MiB"}
    shown = codalab_worker("config", "--json", settings=settings, folder=tmp_path)
    assert shown.returncode == ExitCode.OK
    rows = json.loads(shown.stdout)
    assert rows["BROKER_URL"] == {"value": "********", "from": ".env"}
    assert rows["WORKER_CONCURRENCY"] == {"value": "3", "from": "environment"}
    assert rows["USE_GPU"] == {"value": "False", "from": ".env"}
    assert rows["WORKER_LOG_LIMIT"] == {"value": str(1 << 20), "from": "environment"}
    assert rows["WORKER_QUEUE"] == {"value": "compute-worker", "from": "default"}
    table = codalab_worker("config", settings=settings, folder=tmp_path)
    first, *others = table.stdout.splitlines()
    assert first.split() == ["BROKER_URL", "********", "(.env)"]
    assert len(others) + 1 == len(rows)
    assert "hush-hush" not in shown.stdout + shown.stderr + table.stdout + table.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"WORKER_CONCURENCY": "2"},
            "WORKER_CONCURENCY is no setting of this worker; did you mean WORKER_CONC",
        ),
        ({"WORKER_CONCURRENCY": "none"}, "WORKER_CONCURRENCY: "),
        ({"WORKER_LOG_LIMIT": "10 apples"}, "WORKER_LOG_LIMIT: is no size"),
        ({"USE_GPU": "hush-hush"}, "USE_GPU: "),
        ({"SUBMISSION_TEMP_DIR": "relative"}, "SUBMISSION_TEMP_DIR: must be an absolute path"),
    ],
)
def test_settings_that_cannot_be_are_named(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    for command in (["config"], ["run"]):
        done = codalab_worker(*command, settings=settings, folder=tmp_path)
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
        assert done.stderr.startswith(sentence)
        assert "hush-hush" not in done.stderr


def test_help_is_quick_because_it_imports_little() -> None:
    program = "import sys, worker.cli; print({'pika', 'docker', 'requests', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_the_console_script_is_the_module(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("codalab-worker")
    outputs = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        for command in ([str(script)], COMMAND)
    ]
    assert outputs[0] == outputs[1]
    for command in ("run", "exec", "submit", "config", "schema", "demo"):
        assert f"\n  {command}  " in outputs[0]
