"""Programs that cannot be run, do not end well or write what nobody can read: participants' and organisers'."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import docker
import pytest

from tests.support.competition import PROGRAM, Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.demo.competition import zipped

pytestmark = pytest.mark.acceptance

MEND = "the image or its command must be mended."

Make = Callable[[Competition], Submission]
MIB = 1 << 20


def scoring(metadata: bytes | None, files: Mapping[str, bytes] | None = None, **task_args: Any) -> Make:
    """A plain scoring run whose program has that metadata."""
    program = {**PROGRAM, **(files or {})}
    if metadata is None:
        del program["metadata"]
    else:
        program["metadata"] = metadata
    bundles = {"program.zip": zipped(program), "res.zip": zipped({"answer.txt": b"42"})}
    return lambda competition: competition.submission(bundles=bundles, **task_args)


def participant(script: str, **task_args: Any) -> Make:
    """A docker submission that runs that shell script."""
    return lambda competition: competition.docker_submission(script, **task_args)


def in_image(rest: str, options: str = "") -> Make:
    """A docker submission that runs that in the base image."""

    def make(competition: Competition) -> Submission:
        command = f"docker run {options} {competition.image} {rest}"
        return competition.submission(submit_docker_command=command)

    return make


def unrunnable(reason: str) -> str:
    told = f"The organiser's scoring program cannot be run: {reason}"
    return f"{told}; its metadata must hold a line `command: …`."


TOO_MUCH = b'command: python3 -c "x = bytearray(1 << 30)"\n'
SEVERAL = b"""command:
- sh -c 'echo first; echo remark >&2; echo 1 > $output/first.txt'
- sh -c 'echo second; exit 7'
- sh -c 'echo third; echo 3 > $output/third.txt'
"""

# What is run, and what the site must be told of it.
ENDS: dict[str, tuple[Make, str]] = {
    "program without metadata": (
        scoring(None),
        unrunnable("it has no metadata file"),
    ),
    "program without a command": (
        scoring(b"description: mine\n"),
        unrunnable("its metadata file names no command"),
    ),
    "program whose metadata is no mapping": (
        scoring(b"python3 score.py\n"),
        unrunnable("its metadata file is not a YAML mapping"),
    ),
    "program whose command has unmatched quotes": (
        scoring(b"command: python3 'score.py\n"),
        unrunnable("the command cannot be read: no closing quotation"),
    ),
    "program whose command does not exist": (
        scoring(b"command: no-such-program $input\n"),
        (
            "The organiser's scoring program could not be started: "
            f"exec no-such-program failed: No such file or directory; {MEND}"
        ),
    ),
    "program that exits 3": (
        scoring(b"command: sh -c 'echo half >&2; exit 3'\n"),
        "The organiser's scoring program ended with exit code 3; its stderr says more.",
    ),
    "program that kills itself": (
        scoring(b"command: sh -c 'kill -9 $$'\n"),
        "The organiser's scoring program ended with exit code 137; its stderr says more.",
    ),
    "program out of memory": (
        scoring(TOO_MUCH),
        "The organiser's scoring program was killed: it needed more memory than the limit of 512 MiB.",
    ),
    "program out of time": (
        scoring(b"command: sleep 60\n", execution_time_limit=1),
        "The organiser's scoring program was stopped: time limit of 1 s exceeded.",
    ),
    "second of three commands fails": (
        scoring(SEVERAL),
        "The organiser's scoring program ended with exit code 7; its stderr says more.",
    ),
    "participant exits 3": (
        participant("echo some; echo why >&2; echo 42 > /mnt/out/answer.txt; exit 3"),
        "Your submission ended with exit code 3; its stderr says more.",
    ),
    "participant out of memory": (
        participant("echo before; python3 -c 'x = bytearray(1 << 30)'"),
        "Your submission was killed: it needed more memory than the limit of 512 MiB.",
    ),
    "participant out of time": (
        participant("echo before; sleep 60", execution_time_limit=4),
        "Your submission was stopped: time limit of 4 s exceeded.",
    ),
    "participant's command does not exist": (
        in_image("no-such-program"),
        f"Your submission could not be started: exec no-such-program failed: No such file or directory; {MEND}",
    ),
    "participant's command is no program": (
        in_image("/etc/passwd"),
        f"Your submission could not be started: exec /etc/passwd failed: Permission denied; {MEND}",
    ),
}

FLOOD = "head -c 30000000 /dev/zero | tr '\\0' x >&2"  # one line without an end
WELL: dict[str, Make] = {
    "participant with 30 MB of binary stderr": participant(
        "printf 42 > /mnt/out/answer.txt; head -c 30000000 /dev/urandom >&2; echo told"
    ),
    "program whose child was killed for memory": scoring(
        b"command: sh -c 'python3 -c \"x = bytearray(1 << 30)\"; python3 $program/score.py $input $output'\n"
    ),
}
FAILING_FLOOD = participant(f"{FLOOD}; exit 5")


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    more = {"WORKER_LOG_LIMIT": "1m", "WORKER_STOP_GRACE": "10s"}  # all of them heed SIGTERM
    with station(site, owner, {**settings, **more}, tmp_path_factory.mktemp("programs")) as here:
        yield here


@pytest.fixture(scope="module")
def runs(here: Station, competition: Competition) -> Mapping[str, Submission]:
    """All of them, under way side by side."""
    makes = {name: make for name, (make, _) in ENDS.items()} | WELL | {"flood": FAILING_FLOOD}
    return here.publish_all({name: make(competition) for name, make in makes.items()})


@pytest.mark.parametrize(("name", "sentence"), [(name, told) for name, (_, told) in ENDS.items()], ids=list(ENDS))
def test_the_site_is_told_whose_program_it_was(
    here: Station, runs: Mapping[str, Submission], name: str, sentence: str
) -> None:
    assert here.failed(runs[name]) == sentence
    assert runs[name].has("stdout.txt")
    assert runs[name].has("stderr.txt")


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [
        ("participant exits 3", 3),
        ("participant out of memory", 137),
        ("participant out of time", 143),
        ("participant's command does not exist", 127),
        ("participant's command is no program", 126),
    ],
)
def test_after_a_participants_failure_nothing_is_scored(
    here: Station, runs: Mapping[str, Submission], name: str, exit_code: int
) -> None:
    here.failed(runs[name])
    assert runs[name].archive().keys() == {"metadata"}
    metadata = runs[name].metadata()
    assert (metadata["exitCode"], metadata["participantExitCode"]) == (exit_code, exit_code)
    assert "scored" not in runs[name].text("stdout.txt")
    assert not runs[name].has("detailed_results.html")


def test_a_failed_participants_logs_are_stored_and_their_end_is_told(
    here: Station, runs: Mapping[str, Submission]
) -> None:
    here.failed(runs["participant exits 3"])
    assert runs["participant exits 3"].text("stdout.txt") == "some\n"
    assert runs["participant exits 3"].text("stderr.txt").startswith("why\n")
    assert here.told(runs["participant exits 3"])[-1].traceback.endswith("\n\nwhy")
    for name in ("participant out of memory", "participant out of time"):
        here.failed(runs[name])
        assert runs[name].text("stdout.txt") == "before\n"


def test_a_list_of_commands_stops_at_the_first_that_fails(here: Station, runs: Mapping[str, Submission]) -> None:
    run = runs["second of three commands fails"]
    here.failed(run)
    assert run.text("stdout.txt") == "first\nsecond\n"
    assert run.text("stderr.txt") == "remark\n"
    assert run.archive().keys() == {"metadata", "first.txt"}
    assert run.metadata()["exitCode"] == [0, 7]


def test_where_no_program_could_be_read_no_container_ran(here: Station, runs: Mapping[str, Submission]) -> None:
    for name in ("program without metadata", "program without a command"):
        here.failed(runs[name])
        assert runs[name].read("stdout.txt") == b""
        assert not runs[name].has("output.zip")


def test_a_flood_of_stderr_is_cut_with_a_line_that_says_so(here: Station, runs: Mapping[str, Submission]) -> None:
    run = runs["participant with 30 MB of binary stderr"]
    here.finished(run)
    stderr = run.read("stderr.txt")
    assert MIB < len(stderr) < MIB + 1000
    assert b"\n[... 27.6 MiB more were dropped: a log may hold 1 MiB]\n" in stderr
    assert b"===== scoring program: stderr =====\nscoring remark\n" in stderr
    assert run.archive()["scores.txt"] == b"correct: 1\n"


def test_a_flood_does_not_drown_the_sentence(here: Station, runs: Mapping[str, Submission]) -> None:
    assert here.failed(runs["flood"]) == "Your submission ended with exit code 5; its stderr says more."
    traceback = here.told(runs["flood"])[-1].traceback
    assert len(traceback) < 5000
    assert traceback.endswith("27.6 MiB more were dropped: a log may hold 1 MiB]")


def test_a_program_may_survive_the_death_of_its_child(here: Station, runs: Mapping[str, Submission]) -> None:
    run = runs["program whose child was killed for memory"]
    here.finished(run)
    assert run.archive()["scores.txt"] == b"correct: 1\n"


def test_the_worker_is_none_the_worse(here: Station, competition: Competition, client: docker.DockerClient) -> None:
    here.is_none_the_worse(competition, client)
