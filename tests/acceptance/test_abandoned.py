"""A command that was killed leaves a container of an identity that nobody will have again: the next one removes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from socket import gethostname

import docker
import pytest

from sandbox.labels import WORKER
from tests.support.competition import Competition
from tests.support.engine_events import wait_for_start
from tests.support.worker_process import COMMAND, environment
from worker.kept.folders import identity

pytestmark = pytest.mark.acceptance

_WAIT = 60.0


def exec_command(settings: dict[str, str], temp_dir: Path, message: Path) -> subprocess.Popen[bytes]:
    env = environment({**settings, "SUBMISSION_TEMP_DIR": str(temp_dir)})
    command = [*COMMAND, "exec", "--json", str(message)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def containers_of(client: docker.DockerClient, folder: Path) -> list[object]:
    label = f"{WORKER}={identity(folder, gethostname())}"
    return list(client.containers.list(all=True, ignore_removed=True, filters={"label": label}))


def message_of(competition: Competition, path: Path, script: str) -> Path:
    submission = competition.docker_submission(script)
    path.write_text(json.dumps([submission.task_id, submission.task_args]))
    return path


def test_the_next_command_removes_what_a_killed_one_left_and_nothing_of_a_living_one(
    settings: dict[str, str], competition: Competition, client: docker.DockerClient, tmp_path: Path
) -> None:
    temp_dir = tmp_path / "temp"
    endless = message_of(competition, tmp_path / "endless.json", "while :; do sleep 1; done")
    short = message_of(competition, tmp_path / "short.json", "exit 3")
    living, killed = (exec_command(settings, temp_dir, endless) for _ in range(2))
    try:
        folders = {process.pid: started(settings["DOCKER_HOST"], temp_dir, process) for process in (living, killed)}
        killed.kill()
        killed.wait(_WAIT)
        assert containers_of(client, folders[killed.pid])
        with exec_command(settings, temp_dir, short) as third:
            assert third.wait(_WAIT) == 1
        assert not containers_of(client, folders[killed.pid])
        assert not folders[killed.pid].exists()
        assert containers_of(client, folders[living.pid])
    finally:
        living.terminate()
        assert living.wait(_WAIT) == 1
    assert list(temp_dir.iterdir()) == []


def holder(folder: Path) -> str:
    """Nobody where the lock is just being made."""
    lock = folder / "worker.lock"
    return lock.read_text() if lock.exists() else ""


def started(host: str, temp_dir: Path, process: subprocess.Popen[bytes]) -> Path:
    """The temp dir of that process, once its container runs."""
    assert process.stdout
    with process.stdout as updates:
        updates.readline()  # it is running
    (folder,) = (path for path in temp_dir.iterdir() if holder(path) == f"{process.pid}\n")
    wait_for_start(host, WORKER, identity(folder, gethostname()))
    return folder
