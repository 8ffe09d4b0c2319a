"""`codalab-worker try` says what a site would be told, and leaves what a site would be given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.support.competition import ANSWER, PROGRAM, Competition, Submission
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from tests.support.try_folder import MEMORY, Files, TryFolder, script
from worker.demo.competition import zipped
from worker.demo.parts import Parts

pytestmark = pytest.mark.acceptance


@dataclass(frozen=True)
class Case:
    """A submission and a scoring program, for a site and for `try` alike. {} in `image` is the base image."""

    image: str
    time_limit: int = 20
    program: Files = field(default_factory=lambda: PROGRAM)
    statuses: tuple[str, ...] = ("running", "failed")


CASES = {
    "well": Case(script(ANSWER), statuses=("running", "finished")),
    "time limit": Case(script("echo so far >&2; sleep 60"), time_limit=3),
    "exit code": Case(script("echo why >&2; exit 3")),
    "out of memory": Case(script("python3 -c 'x = bytearray(1 << 30)'")),
    "no such program": Case("docker run {} no-such-program"),
    "missing image": Case("{}-that-is-missing"),
    "refused docker option": Case("docker run --privileged {}", statuses=("failed",)),
    "folder that is not offered": Case("docker run -v /etc:/mnt/in:ro {}", statuses=("failed",)),
    "bad image name": Case("Team/Image:1", statuses=("failed",)),
    "scoring program fails": Case(script(ANSWER), program={"metadata": b"command: sh -c 'echo no >&2; exit 5'\n"}),
    "scoring program without a command": Case(script(ANSWER), program={"metadata": b"description: mine\n"}),
    "scoring out of time": Case(script(ANSWER), time_limit=3, program={"metadata": b"command: sleep 60\n"}),
}


@pytest.fixture
def trying(parts: Parts, tmp_path: Path) -> TryFolder:
    return TryFolder.make(parts, tmp_path)


@pytest.fixture(scope="module")
def here(
    site: Site, owner: Owner, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("site")
    with station(site, owner, settings, folder, WORKER_MEMORY_LIMIT=MEMORY, WORKER_STOP_GRACE="10s") as here:
        yield here


@pytest.fixture(scope="module")
def on_site(here: Station, competition: Competition) -> Mapping[str, Submission]:
    """Every case, on its way through a site's worker while `try` is tried."""
    return here.publish_all(
        {
            name: competition.submission(
                submit_docker_command=case.image.format(competition.image),
                execution_time_limit=case.time_limit,
                bundles={"program.zip": zipped(case.program)},
                documents={"input.txt": {"ref": "ref.zip"}},
            )
            for name, case in CASES.items()
        }
    )


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_the_sites(
    trying: TryFolder, here: Station, on_site: Mapping[str, Submission], competition: Competition, name: str
) -> None:
    case, theirs = CASES[name], on_site[name]
    if case.program is not PROGRAM:
        (trying.folder / "program" / "metadata").unlink()
        trying.put("program", case.program)
    ended = trying(case.image.format(competition.image), "--time-limit", f"{case.time_limit}s", "--json")
    mine, told = ended.updates(), here.told(theirs)
    assert [update["status"] for update in mine] == [update.status for update in told] == list(case.statuses)
    assert plain(mine[-1]["extra"].get("traceback", "")) == plain(told[-1].traceback)
    assert mine[-1]["extra"]["metadata"].keys() == told[-1].metadata.keys()
    assert ended.exit_code == (0 if case.statuses[-1] == "finished" else 1)
    assert ended.stderr == ""
    same_files(trying, theirs)


def plain(text: str) -> str:
    """Without the one figure that differs from run to run: the process number in what the init process says."""
    return re.sub(r"tini \(\d+\)", "tini", text)


def same_files(trying: TryFolder, theirs: Submission) -> None:
    for name in ("stdout.txt", "stderr.txt", "output.zip", "private_output.zip", "detailed_results.html"):
        assert (trying.folder / "try-output" / name).exists() == theirs.has(name), name
    if theirs.has("stdout.txt"):
        assert trying.text("stdout.txt") == theirs.text("stdout.txt")
        assert plain(trying.text("stderr.txt")) == plain(theirs.text("stderr.txt"))
    if theirs.has("output.zip"):
        mine, whole = trying.archive(), theirs.archive()
        times = {"elapsedTime", "participantElapsedTime"}
        facts = [yaml.safe_load(archive.pop("metadata")) for archive in (mine, whole)]
        assert mine == whole
        assert facts[0].keys() == facts[1].keys()
        assert all(facts[0][key] == facts[1][key] for key in facts[0].keys() - times)
