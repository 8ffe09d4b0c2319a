"""Figures, health and the status page of a real daemon, with a run in progress and some that ended."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import docker
import pytest

from tests.contract.engine_proxy import engine_proxy
from tests.support import promtool
from tests.support.chromium import look_at
from tests.support.competition import ANSWER, Competition, Submission
from tests.support.engine_events import EngineEvents, let_go
from tests.support.private_queue import PrivateQueue
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from tests.support.waiting import wait_until
from tests.support.worker_process import COMMAND, WorkerProcess, environment
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance

MIB = 1 << 20
SERVED = "metrics, health and the status page are served"
HOSTILE = """docker run -v '/in"><script>document.title=1</script><img/src=x>:/mnt/in:ro' image"""
ANY_PORT = "127.0.0.1:0"
# When all runs of the scene but the one in progress are out of hand.
AT_REST = {
    'codalab_worker_runs_total{end="finished",fault="none"}': 1,
    'codalab_worker_runs_total{end="failed",fault="participant"}': 2,
    "codalab_worker_busy_slots": 1,
    "codalab_worker_leases_held": 1,
}


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gates") / "input"
    folder.mkdir()  # to be read by whomever a container runs as, unlike the folder above
    return folder


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], gates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    more = {"WORKER_METRICS": ANY_PORT, "WORKER_PARTICIPANT_INPUT_DIR": str(gates), "CODALAB_HOSTNAME": "gpu-host-1"}
    with station(site, owner, {**settings, **more}, tmp_path_factory.mktemp("monitored")) as here:
        yield here


@pytest.fixture(scope="module")
def scene(
    here: Station, competition: Competition, gates: Path, events: EngineEvents, client: docker.DockerClient
) -> Iterator[Submission]:
    """One run in progress, which has taken memory and written; others have ended, as people's runs do."""
    write = "head -c 3145728 /dev/zero > /mnt/out/part; echo written"
    script = f"{write}; until [ -e /mnt/in/go ]; do sleep 0.05; done; {ANSWER}"
    running = competition.docker_submission(script, execution_time_limit=3000)
    ended = [
        competition.docker_submission(),
        competition.docker_submission("echo 'no weights found' >&2; exit 3"),
        competition.docker_submission("sleep 60", execution_time_limit=1),
    ]
    for one in [running, *ended]:
        here.publish(one)
    for one in ended:
        here.told(one)
    (message,) = [name for name, one in here.published.items() if one is running]
    container = client.containers.get(events.wait(message, "start").container)
    written = container.logs(stream=True)
    assert b"written" in next(written)
    let_go(written)
    wait_for_figures(here.worker, AT_REST)
    yield running
    (gates / "go").touch()
    here.finished(running)


def test_the_status_page_in_a_browser(here: Station, scene: Submission) -> None:
    page = look_at(url(here.worker), "status-page", size=(1280, 600), seconds=1)
    assert not page.picture.is_blank
    current, past = tables(page.document)
    (row,) = current
    assert row[:2] == [str(scene.task_id), "participant"]
    assert re.fullmatch(r"4\d min \d+ s of 50 min 0 s", row[3])
    assert 0.1 < mebibytes(row[4]) < 512
    assert 3 <= mebibytes(row[5]) < 4
    ends = {row[1] for row in past}
    assert ends == {"finished", "failed"}
    assert any("exit code 3" in row[4] for row in past)
    assert any("time limit" in row[4] for row in past)
    assert scene.task_args["secret"] not in page.document


def test_hostile_words_stay_words(here: Station, competition: Competition, scene: Submission) -> None:
    del scene
    hostile = competition.submission(submit_docker_command=HOSTILE)
    here.publish(hostile)
    here.told(hostile)
    wait_for_figures(here.worker, {'codalab_worker_runs_total{end="failed",fault="participant"}': 3})
    refused = competition.submission(submit_docker_command="docker run --privileged image")
    here.publish(refused)
    here.told(refused)
    wait_for_figures(here.worker, {'codalab_worker_messages_refused_total{fault="participant"}': 1})
    document = look_at(url(here.worker), "status-page-hostile", seconds=1).document
    assert "<title>gpu-host-1" in document
    assert "<script" not in document
    assert "<img" not in document
    assert "&lt;script&gt;" in document


def test_the_figures(here: Station, scene: Submission, tmp_path: Path) -> None:
    del scene
    text = get(here.worker, "/metrics")
    assert promtool.check("check", "metrics", folder=tmp_path, given=text.encode()) == ""
    assert figure(text, 'codalab_worker_runs_total{end="finished",fault="none"}') == 1
    assert figure(text, "codalab_worker_slots") == 8
    wait_for_figures(here.worker, {"codalab_worker_busy_slots": 1, "codalab_worker_leases_held": 1})
    assert figure(text, "codalab_worker_ready") == 1
    assert figure(text, 'codalab_worker_broker_connections_total{link="intake"}') == 1
    assert figure(text, 'codalab_worker_image_pull_duration_seconds_count{result="ok"}') >= 2
    assert figure(text, 'codalab_worker_transfer_bytes_total{direction="down"}') > 1000
    assert figure(text, 'codalab_worker_transfer_bytes_total{direction="up"}') > 1000
    assert figure(text, 'codalab_worker_stage_duration_seconds_count{stage="scoring"}') >= 1
    assert figure(text, "process_resident_memory_bytes") > MIB
    for secret in ("secret-of-", "sig=", *here.published):
        assert secret not in text


def test_a_worker_that_works_is_alive_and_ready(here: Station) -> None:
    assert get(here.worker, "/healthz") == "alive\n"
    assert get(here.worker, "/readyz") == "ready\n"


def test_an_engine_or_a_disk_in_trouble_is_named_and_the_worker_still_alive(
    private_queue: PrivateQueue, parts: Parts, tmp_path: Path
) -> None:
    with (
        engine_proxy(tmp_path, parts.docker_host) as proxy,
        private_queue.worker(WORKER_METRICS=ANY_PORT, DOCKER_HOST=proxy.host, WORKER_MIN_FREE_DISK="1000TiB") as worker,
    ):
        proxy.cut()
        status, said = answer(worker, "/readyz")
        assert status == 503
        assert "the container engine does not answer" in said
        assert "WORKER_MIN_FREE_DISK is 1000 TiB" in said
        assert get(worker, "/healthz") == "alive\n"
        assert figure(get(worker, "/metrics"), "codalab_worker_ready") == 0
        assert worker.stop() == 0


def test_it_answers_to_the_end_of_a_drain(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission("until [ -e /mnt/in/gate ]; do sleep 0.05; done; " + ANSWER)
    with private_queue.worker(WORKER_METRICS=ANY_PORT) as worker:
        events.wait(private_queue.publish(submission), "start")
        worker.process.terminate()
        worker.wait_for_event("draining")
        assert get(worker, "/healthz") == "alive\n"
        private_queue.open_gate()
        assert worker.process.wait(40) == 0


def test_an_address_that_is_taken_is_an_error_at_the_start(settings: dict[str, str], tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        env = environment({**settings, "WORKER_METRICS": address, "SUBMISSION_TEMP_DIR": str(tmp_path / "temp")})
        done = subprocess.run(
            [*COMMAND, "run"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert f"WORKER_METRICS: cannot listen on {address}: Address already in use." in done.stderr


def test_without_it_nothing_of_it_is_loaded() -> None:
    program = "import worker.daemon, sys; print(sorted({'prometheus_client', 'http.server'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def url(worker: WorkerProcess, path: str = "/") -> str:
    worker.wait_for_event(SERVED)
    return f"http://{worker.events(SERVED)[0]['address']}{path}"


def answer(worker: WorkerProcess, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url(worker, path), timeout=30) as response:  # noqa: S310 -- an address of ours
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def get(worker: WorkerProcess, path: str) -> str:
    status, text = answer(worker, path)
    assert status == 200, text
    return text


def figure(text: str, series: str) -> float:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


def wait_for_figures(worker: WorkerProcess, wanted: Mapping[str, float]) -> None:
    """The site is told a moment before the run is out of hand."""
    wait_until(lambda: is_shown(get(worker, "/metrics"), wanted), lambda: get(worker, "/metrics"))


def is_shown(text: str, wanted: Mapping[str, float]) -> bool:
    """True where all of these are there, with these values."""
    return {f"{series} {value:.1f}" for series, value in wanted.items()} <= set(text.splitlines())


def mebibytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit]


class _Tables(HTMLParser):
    """The cells of the body rows of every table, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag == "tbody":
            self.found.append([])
        elif tag == "tr" and self.found:
            self.found[-1].append([])
        elif tag == "td":
            self.found[-1][-1].append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1] and self.found[-1][-1]:
            self.found[-1][-1][-1] += data


def tables(document: str) -> list[list[list[str]]]:
    parser = _Tables()
    parser.feed(re.sub(r"<thead>.*?</thead>|<footer>.*?</footer>|<h2>.*?</h2>", "", document))
    return parser.found
