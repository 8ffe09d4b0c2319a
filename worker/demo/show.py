"""`codalab-worker demo`: brings up what is needed, sends one submission through it, and shows every step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from worker.demo import competition, engine
from worker.demo.blobs import BlobStore
from worker.demo.competition import SAMPLE, SLOTS, Competition
from worker.demo.parts import Parts, running
from worker.demo.places import say
from worker.demo.processes import PartsError
from worker.exit_codes import ExitCode

CONTAINER = "codalab-demo"
RESULTS = Path("demo-results")
QUEUE = "codalab-worker-demo"
_WORKER = (sys.executable, "-m", "worker")


def main() -> ExitCode:
    """Shows the whole path; the exit code tells whether the run finished."""
    began = time.monotonic()
    try:
        with running() as parts:
            code = _show(parts)
    except PartsError as error:
        print(f"demo: {error}", file=sys.stderr)
        return ExitCode.UNREACHABLE
    say("demo", f"took {time.monotonic() - began:.1f} s; stopped what it started")
    return code


def _show(parts: Parts) -> ExitCode:
    with (
        tempfile.TemporaryDirectory(prefix="codalab-demo-") as folder,
        closing(engine.connect(parts.docker_host)) as client,
    ):
        say("demo", "a participant's image, a scoring image and a competition's bundles")
        sample = competition.make(client, BlobStore(parts.blob_endpoint), parts.registry, CONTAINER)
        competition.forget_images(client, sample)
        message = Path(folder) / "MESSAGE.json"
        message.write_text(json.dumps(sample.message(task_id=1)))
        environment = _environment(parts, Path(folder))
        say("demo", "codalab-worker exec MESSAGE.json  (one run, no broker)")
        first = subprocess.run([*_WORKER, "exec", str(message)], env=environment, check=False)
        if first.returncode:
            return ExitCode.RUN_FAILED
        with _daemon(environment, Path(folder) / "worker.log"):
            say("demo", "codalab-worker run &  codalab-worker submit --wait MESSAGE.json  (through RabbitMQ)")
            waited = subprocess.run([*_WORKER, "submit", "--wait", str(message)], env=environment, check=False)
        _show_results(sample)
    return ExitCode(waited.returncode)


def _environment(parts: Parts, folder: Path) -> Mapping[str, str]:
    """The worker's settings: the first names are all that an operator must set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WORKER_", "SUBMISSION_"))}
    return {
        **kept,
        "BROKER_URL": parts.broker_url,
        "DOCKER_HOST": parts.docker_host,
        "SUBMISSION_TEMP_DIR": str(folder / "runs"),
        "WORKER_PARTICIPANT_INPUT_DIR": str(SAMPLE / "input"),
        "WORKER_QUEUE": QUEUE,
    }


@contextmanager
def _daemon(environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """The worker itself, as an operator starts it; drained at the end. Its log is shown where it fails."""
    with log.open("wb") as file:
        worker = subprocess.Popen([*_WORKER, "run"], env=environment, stderr=file)
        try:
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            if worker.wait():
                print(log.read_text(), file=sys.stderr)


def _show_results(sample: Competition) -> None:
    """Fetches what the worker stored, as the site would, and shows the scores."""
    RESULTS.mkdir(exist_ok=True)
    for name in SLOTS.values():
        if sample.store.exists(sample.blob(name)):
            (RESULTS / name).write_bytes(sample.store.get(sample.blob(name)))
    with zipfile.ZipFile(RESULTS / "output.zip") as archive:
        print(f"\nscores.txt\n{archive.read('scores.txt').decode()}\nmetadata\n{archive.read('metadata').decode()}")
    print(f"stdout.txt\n{(RESULTS / 'stdout.txt').read_text()}")
    print("uploaded files, fetched back from the store:")
    for path in sorted(RESULTS.iterdir()):
        print(f"  {path}  {path.stat().st_size} bytes")
