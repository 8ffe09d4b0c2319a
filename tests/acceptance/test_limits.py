"""Limits on what programs write, through the daemon: each is told with its value, to whoever can mend it.

The runs are published all at once to two daemons: one may mount, and puts participants' output behind a wall; for
the other there is no mkfs, as in a container, so that it has nothing but its watch.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import docker
import pytest

from tests.support.competition import ANSWER, PROGRAM, SCORE, Competition, Submission
from tests.support.engine_events import EngineEvents
from tests.support.mounts import mounted_below, wait_until_gone
from tests.support.private_queue import PrivateQueue, gated, statuses
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

LIMITS = {"WORKER_OUTPUT_LIMIT": "16m", "WORKER_OUTPUT_FILES_LIMIT": "300", "WORKER_SCRATCH_LIMIT": "24m"}
KINDS: dict[str, dict[str, str]] = {"walled and watched": {}, "watched": {"DONT_FINALIZE_SUBMISSION": "true"}}
BYTES = "wrote more to its output folder than the limit of 16 MiB (holes count, too)."
NAMES = "made more files and folders in its output folder than the limit of 300."
SCRATCH = "wrote more outside of its output folder than the limit of 24 MiB."
TOO_LONG = "; sleep 1000"  # the run's own time limit is a minute
SLOWLY = "while :; do head -c 1m /dev/zero; sleep 0.01; done > "
MANY = "for i in $(seq 900); do : > {}/$i; done"

# What a participant's container does, and what is said of it.
SUBMISSIONS = {
    "bytes": ("dd if=/dev/zero of=/mnt/out/big bs=1M count=64", BYTES),
    "a hole": (f"{ANSWER}; truncate -s 1099511627776 /mnt/out/hole{TOO_LONG}", BYTES),
    "names": (MANY.format("/mnt/out") + TOO_LONG, NAMES),
    "elsewhere": (f"{SLOWLY} /tmp/big", SCRATCH),
}
# Likewise of a scoring program.
PROGRAMS = {
    "bytes": ("$output", SLOWLY + "big", BYTES.replace("its output", "the run's")),
    "names": ("$output", MANY.format("."), "made more files and folders in the run's folder than the limit of 300."),
    "beside it": ("$input", SLOWLY + "big", BYTES.replace("its output", "the run's")),
    "elsewhere": ("/tmp", SLOWLY + "big", "wrote more outside of the run's folder than the limit of 24 MiB."),
}
PREDICT: dict[str, dict[str, str]] = {"run.txt": {"program": "code.zip", "input": "ref.zip"}, "input.txt": {}}
CODE = {"metadata": b"command: sh $program/run.sh $output $tmp $shared\n", "run.sh": f"{SLOWLY} $2/big\n".encode()}


class Runs:
    """All runs of this module on one daemon, published at once."""

    def __init__(self, station: Station, competition: Competition) -> None:
        self.station = station
        make = competition.docker_submission
        self.submissions = station.publish_all({name: make(script) for name, (script, _) in SUBMISSIONS.items()})
        self.predictions = station.publish_all(
            {name: make(script, predict=True, documents=PREDICT) for name, (script, _) in SUBMISSIONS.items()}
        )
        self.programs = station.publish_all({name: scoring(competition, *line[:2]) for name, line in PROGRAMS.items()})
        self.code = competition.submission(predict=True, documents=PREDICT, bundles={"code.zip": zipped(CODE)})
        given = {"res.zip": zipped({"answer.txt": b"42", "deep/more.txt": b"x"})}
        self.good = make("cat /mnt/out/deep/more.txt; for i in $(seq 200); do : > /mnt/out/$i; done", bundles=given)
        for one in (self.code, self.good):
            station.publish(one)


def scoring(competition: Competition, place: str, script: str) -> Submission:
    """A scoring program that does this in one of its folders, and would then go on to score."""
    files = {
        "metadata": f"command: sh $program/run.sh $input $output {place}\n".encode(),
        "run.sh": f"(cd $3; {script})\nexec python3 $0/../score.py $1 $2\n".encode(),
        "score.py": SCORE,
    }
    return competition.docker_submission(bundles={"program.zip": zipped({**PROGRAM, **files})})


@pytest.fixture(scope="module", params=KINDS)
def runs(
    request: pytest.FixtureRequest,
    site: Site,
    owner: Owner,
    settings: dict[str, str],
    competition: Competition,
    client: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Runs]:
    del client
    folder = tmp_path_factory.mktemp("limits")
    with station(site, owner, {**settings, **LIMITS, **KINDS[request.param]}, folder) as used:
        [told] = used.worker.events("output folders are held to their limits")
        assert told["by"] == request.param
        yield Runs(used, competition)
        assert used.worker.stop() == 0
    wait_until_gone(folder)


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_a_participant_is_told_which_limit(runs: Runs, name: str) -> None:
    assert runs.station.failed(runs.submissions[name]) == f"Your submission {SUBMISSIONS[name][1]}"
    assert "predicted" not in runs.submissions[name].text("stdout.txt") or name == "a hole"


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_and_what_is_stored_of_a_prediction_stays_within_it(runs: Runs, name: str) -> None:
    submission = runs.predictions[name]
    assert runs.station.failed(submission) == f"Your submission {SUBMISSIONS[name][1]}"
    stored = submission.archive()
    assert sum(map(len, stored.values())) < 17 << 20
    assert len(stored) <= 301
    if name == "a hole":
        assert stored["answer.txt"] == b"42"
        assert "left out of the output: hole: too large" in submission.text("stderr.txt")


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_organiser_is_told_which_limit(runs: Runs, name: str) -> None:
    sentence = runs.station.failed(runs.programs[name])
    assert sentence == f"The organiser's scoring program {PROGRAMS[name][2]}"


def test_all_folders_of_a_code_submission_count(runs: Runs) -> None:
    assert runs.station.failed(runs.code) == f"Your submission {BYTES}"


def test_what_the_site_sent_is_there_and_up_to_the_limits_all_is_well(runs: Runs) -> None:
    runs.station.finished(runs.good)
    assert "x" in runs.good.text("stdout.txt").splitlines()
    assert runs.good.archive()["scores.txt"] == b"correct: 1\n"


def test_a_worker_that_was_killed_leaves_no_mount_to_the_next(
    private_queue: PrivateQueue, competition: Competition, events: EngineEvents
) -> None:
    submission = competition.docker_submission(gated())
    with private_queue.worker() as daemon:
        message = private_queue.publish(submission)
        events.wait(message, "start")
        runs = daemon.temp_dir / "runs"
        assert mounted_below(runs)
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()
        assert mounted_below(runs)
        with private_queue.worker():
            private_queue.open_gate()
            assert statuses(private_queue.end_of(submission))[-1] == "finished"
    wait_until_gone(private_queue.folder)
