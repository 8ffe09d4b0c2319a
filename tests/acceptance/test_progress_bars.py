"""Progress bars for pulls, downloads and uploads: on a terminal, and nowhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from tests.support import command
from tests.support.competition import ANSWER, PROGRAM, REF, Competition
from worker.demo import images
from worker.demo.competition import zipped
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance

ESCAPE = "\x1b"
BIG = 40 << 20  # bytes of a layer: more than an engine pulls without a word


@pytest.fixture
def settings(parts: Parts, tmp_path: Path) -> dict[str, str]:
    return {"DOCKER_HOST": parts.docker_host, "SUBMISSION_TEMP_DIR": str(tmp_path / "temp")}


@pytest.fixture
def to_pull(client: docker.DockerClient, parts: Parts) -> Iterator[str]:
    """An image that the registry has and the engine has not."""
    tag = f"{parts.registry}/pulled-{uuid4().hex[:8]}:1"
    dockerfile = f"FROM {images.ensure_base(client)}\nCOPY noise /noise\n"
    images.build(client, tag, dockerfile, {"noise": os.urandom(BIG)})
    images.push(client, tag)
    client.images.remove(tag, force=True)
    yield tag
    client.images.remove(tag, force=True)


@pytest.fixture
def message(competition: Competition, to_pull: str, tmp_path: Path) -> None:
    submission = competition.docker_submission(
        submit_docker_command=f"docker run {to_pull} sh -c '{ANSWER}'", bundles={"ref.zip": zipped(REF)}
    )
    (tmp_path / "message.json").write_text(json.dumps([submission.task_id, submission.task_args]))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, files in {"in": {}, "program": PROGRAM, "ref": REF}.items():
        (tmp_path / name).mkdir()
        for path, data in files.items():
            (tmp_path / name / path).write_bytes(data)
    return tmp_path


def trial(image: str) -> list[str]:
    script = f"docker run {image} sh -c '{ANSWER}'"
    return ["try", script, "--input", "in", "--program", "program", "--ref", "ref"]


@pytest.mark.usefixtures("message")
def test_exec_on_a_terminal(to_pull: str, settings: Mapping[str, str], tmp_path: Path) -> None:
    ended = command.run_on_terminal(["exec", "message.json"], settings, tmp_path)
    assert ended.exit_code == 0, ended.stderr
    for what in (f"pull {to_pull}", "download program", "download input/ref", "upload output_url"):
        assert what in ended.stderr
    assert "MB" in ended.stderr
    assert "running" in ended.stderr
    assert "finished" in ended.stderr


@pytest.mark.usefixtures("message")
def test_statuses_stay_in_the_pipe_that_they_are_sent_to(settings: Mapping[str, str], tmp_path: Path) -> None:
    ended = command.run_on_terminal(["exec", "message.json"], settings, tmp_path, piped_stdout=True)
    assert ended.stdout == "running\nfinished\n"
    assert "download program" in ended.stderr
    assert "finished" not in ended.stderr


@pytest.mark.usefixtures("message")
def test_exec_in_a_pipe(settings: Mapping[str, str], tmp_path: Path) -> None:
    ended = command.run(["exec", "message.json"], settings, tmp_path)
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "running\nfinished\n", "")


def test_try_on_a_terminal(to_pull: str, settings: Mapping[str, str], folders: Path) -> None:
    ended = command.run_on_terminal(trial(to_pull), settings, folders)
    assert ended.exit_code == 0, ended.stderr
    assert f"pull {to_pull}" in ended.stderr
    assert "correct: 1" in ended.stderr


def test_try_in_a_pipe(to_pull: str, settings: Mapping[str, str], folders: Path) -> None:
    ended = command.run(trial(to_pull), settings, folders)
    assert ended.exit_code == 0, ended.stderr
    assert ended.stderr == ""
    assert ESCAPE not in ended.stdout
    assert "pull" not in ended.stdout


def test_a_long_sentence_is_not_broken_on_a_terminal(settings: Mapping[str, str], folders: Path) -> None:
    """A terminal folds lines itself; what is copied from it must be one line."""
    image = "team.example.org/" + "x" * 90
    allowed = {"WORKER_ALLOWED_IMAGES": "others/*"}
    ended = command.run_on_terminal(["try", image, "--input", "in"], {**settings, **allowed}, folders)
    assert f"Your submission's image {image} is not among those that this worker may run: others/*." in ended.stderr
