"""`codalab-worker submit`: publishes as a site does, and may follow the run to its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import codalab_worker, json_lines, message
from tests.support.competition import Competition
from tests.support.fault_proxy import FaultProxy
from tests.support.private_queue import QUEUE, PrivateQueue, next_message, statuses
from tests.support.rabbit import Management
from worker.exit_codes import ExitCode

pytestmark = pytest.mark.acceptance


def test_a_run_is_published_as_the_site_does(
    private_queue: PrivateQueue, competition: Competition, tmp_path: Path
) -> None:
    submission = competition.docker_submission()
    done = codalab_worker("submit", "-", stdin=message(submission), settings=private_queue.settings, folder=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.OK, "")
    assert done.stderr == f"submitted {submission.task_id} to {QUEUE}\n"
    with private_queue.channel() as channel:
        published = next_message(channel, QUEUE)
    assert (published["task"], published["args"]) == ("compute_worker_run", json.loads(message(submission)))


def test_waiting_follows_the_run_and_takes_nothing_from_the_site(
    private_queue: PrivateQueue, management: Management, competition: Competition, tmp_path: Path
) -> None:
    good, bad = competition.docker_submission(), competition.docker_submission("echo reason >&2; exit 3")
    with private_queue.worker():
        first = codalab_worker(
            "submit", "--wait", "-", stdin=message(good), settings=private_queue.settings, folder=tmp_path
        )
        (tmp_path / "MESSAGE.json").write_text(message(bad))
        second = codalab_worker(
            "submit", "--wait", "--json", "MESSAGE.json", settings=private_queue.settings, folder=tmp_path
        )
    assert (first.returncode, first.stdout) == (ExitCode.OK, "running\nfinished\n")
    assert second.returncode == ExitCode.RUN_FAILED
    running, failed = json_lines(second.stdout)
    assert (running["status"], failed["status"], failed["task_id"]) == ("running", "failed", bad.task_id)
    assert failed["extra"]["traceback"].startswith("Your submission")
    assert bad.task_args["secret"] not in second.stdout + second.stderr
    assert statuses(private_queue.end_of(good)) == ["running", "finished"]
    assert statuses(private_queue.end_of(bad)) == ["running", "failed"]
    queues = management.get("queues/%2F")
    assert isinstance(queues, list)
    assert not [queue["name"] for queue in queues if f"{private_queue.site.updates_queue}.wait." in queue["name"]]


@pytest.mark.parametrize("fault", ["refuses", "is away", "is not set", "makes no sense"])
def test_a_broker_that_cannot_be_used_is_told(
    private_queue: PrivateQueue, proxy: FaultProxy, competition: Competition, tmp_path: Path, fault: str
) -> None:
    proxy.refuse()
    url = private_queue.owner.broker_url
    url, code, sentence = {
        "refuses": (url.replace("@", "-not@"), ExitCode.UNREACHABLE, "refuses this user"),
        "is away": (proxy.url, ExitCode.UNREACHABLE, "broker 127.0.0.1"),
        "is not set": ("", ExitCode.USAGE, "BROKER_URL is not set"),
        "makes no sense": ("http://u:pass-word@host/", ExitCode.USAGE, "BROKER_URL"),
    }[fault]
    settings = {**private_queue.settings, "BROKER_URL": url}
    text = message(competition.docker_submission())
    done = codalab_worker("submit", "--wait", "-", stdin=text, settings=settings, folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    password = private_queue.owner.broker_url.rpartition("@")[0].rpartition(":")[2]
    assert password not in done.stderr
    assert "pass-word" not in done.stderr
