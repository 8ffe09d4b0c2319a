"""A worker under attack: its host, reference data and environment hold canaries, and witnesses stand around it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker

from tests.attacks.canaries import Canaries, leaks, secrets_of
from tests.attacks.witness import Witness, wait_for_no_process
from tests.support.competition import REF, Competition, Submission
from tests.support.mounts import mounted_below, wait_until_gone
from tests.support.rabbit import Owner
from tests.support.site import Site
from tests.support.station import Station, station
from worker.archives.tree import remove_tree
from worker.demo.competition import SLOTS, zipped

MIB = 1 << 20
LOG_LIMIT = MIB
MEMORY_LIMIT = 128 * MIB
PIDS_LIMIT = 64
SHM_SIZE = 16 * MIB
ARCHIVE_LIMIT = 4 * MIB
MARK = f"marked-by-an-attack-{uuid4().hex[:8]}"
"""In the command line of processes that must not outlive their container; others' are attacked beside them."""
_MOST_MEMORY = 160 * MIB  # that the worker may need beyond what it has at rest, with eight runs in work
_MOST_DISK = 512 * MIB
INSIDE = Path(__file__).parent / "inside"

VICTIM = b"""
import json, os, pathlib, sys
given, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
seen, folders = {}, [given / "res"]
while folders:
    folder = folders.pop()
    try:
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                folders.append(path)
            else:
                seen[str(path.relative_to(given / "res"))] = path.open("rb").read(200).decode(errors="replace")
    except OSError as error:
        if error.errno != 36:  # a path that is too long
            raise
(output / "seen.json").write_text(json.dumps(seen))
right = seen.get("answer.txt") == (given / "ref" / "truth.txt").read_text()
(output / "scores.txt").write_text(f"correct: {int(right)}\\n")
"""
"""A trusting scoring program: it opens whatever the submission left, and publishes what it read."""


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """One submission that means harm: a shell script in its container, and how its run must end.

    `blamed` is the sentence that the site is told; without one the run ends well. `left_out` are the lines
    of the log on what was not taken over, `kept` the names that were. `HOST` in a script is a folder of the host.
    """

    name: str
    script: str
    blamed: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    prints: str | None = None
    seconds: int = 60
    image: str | None = None

    def __str__(self) -> str:
        return self.name


class Arena:
    """Where attacks are run, and what is to be found out about them from outside."""

    def __init__(
        self, here: Station, witness: Witness, competition: Competition, canaries: Canaries, host: Path
    ) -> None:
        self.here = here
        self.witness = witness
        self.competition = competition
        self.canaries = canaries
        self.host = host
        """A folder of the worker's host with a secret file, and the operator's input folder."""
        self._secrets: dict[Submission, frozenset[str]] = {}
        self._uploads: dict[Submission, dict[str, bytes]] = {}

    def publish(self, submission: Submission) -> Submission:
        self.watch(submission)
        self.here.publish(submission)
        return submission

    def watch(self, submission: Submission) -> None:
        """Has what becomes of it looked at in the end; for what is published otherwise."""
        self._secrets[submission] = secrets_of(submission)

    def scored(self, attack: Attack) -> Submission:
        """Its output goes to the trusting scoring program, beside the reference data."""
        files = {"metadata": b"command: python3 $program/score.py $input $output\n", "score.py": VICTIM}
        ref = {**REF, "canary.txt": self.canaries.reference.encode()}
        bundles = {"program.zip": zipped(files), "ref.zip": zipped(ref)}
        return self.publish(self._submission(attack, bundles=bundles))

    def predicting(self, attack: Attack) -> Submission:
        """Its output is what is published."""
        documents = {"run.txt": {"program": "", "input": ""}, "input.txt": {}}
        return self.publish(self._submission(attack, documents=documents, predict=True))

    def _submission(self, attack: Attack, **changes: Any) -> Submission:
        script = attack.script.replace("HOST", str(self.host)).replace("'", "'\\''")
        command = f"docker run {attack.image or self.competition.image} sh -c '{script}'"
        return self.competition.submission(
            submit_docker_command=command, execution_time_limit=attack.seconds, **changes
        )

    def judge(self, attack: Attack, submission: Submission) -> None:
        """What holds of every attack: one end, the right one, and nothing of it in what the site stores."""
        if attack.blamed:
            assert self.here.failed(submission) == attack.blamed
        else:
            self.here.finished(submission)
        assert self.here.worker.process.poll() is None
        assert leaks(self.uploads(submission), self.canaries.forbidden(self._secrets[submission])) == set()
        assert dict(map(left_out, self.notes(submission))) == attack.left_out
        if attack.prints is not None:
            assert submission.text("stdout.txt") == attack.prints

    def notes(self, submission: Submission) -> list[str]:
        lines = submission.read("stderr.txt").decode(errors="replace").splitlines()
        return [line for line in lines if line.startswith("[codalab-worker] left out of")]

    def uploads(self, submission: Submission) -> dict[str, bytes]:
        """Everything that the worker stored of a run that has ended."""
        if submission not in self._uploads:
            self._uploads[submission] = {
                f"{submission.task_id}/{name}": submission.read(name) for name in SLOTS.values() if submission.has(name)
            }
        return self._uploads[submission]

    def told(self) -> dict[str, bytes]:
        """All that the site was told; the secret that goes with each update is for the site alone."""
        return {
            f"{one.task_id}: {update.status}": (update.traceback + json.dumps(update.metadata)).encode()
            for one in self._secrets
            for update in self.here.site.of(one.task_id)
        }

    def files(self) -> dict[str, bytes]:
        """What is left below the temp dir; raw bodies of refused messages are kept for the operator as they came."""
        folder = self.here.worker.temp_dir
        paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "rejected"]
        return {str(path): path.read_bytes() for path in paths}

    def is_none_the_worse(self, client: docker.DockerClient) -> None:
        """A good run works, nothing is left, nothing has leaked anywhere, and little was used up."""
        self.here.is_none_the_worse(self.competition, client)
        self._nothing_is_left()
        self._nothing_has_leaked()
        assert self.witness.most_memory - self.witness.at_rest < _MOST_MEMORY
        assert self.witness.most_disk < _MOST_DISK

    def _nothing_is_left(self) -> None:
        assert sorted(path.name for path in (self.host / "input").iterdir()) == [
            "numbers.txt",
            "probe.json",
            "probe.py",
        ]
        assert mounted_below(self.here.worker.temp_dir) == []
        wait_until_gone(self.here.worker.temp_dir)
        wait_for_no_process(self.canaries.environment.encode())
        wait_for_no_process(MARK.encode())

    def _nothing_has_leaked(self) -> None:
        texts = {"log": self.here.worker.log.read_bytes(), **self.witness.texts, **self.told(), **self.files()}
        for submission in self._secrets:
            texts |= self.uploads(submission)
        everybodys = frozenset[str]().union(*self._secrets.values())
        found = leaks(texts, self.canaries.forbidden(everybodys))
        assert not found, sorted({where for where, _ in found})


def left_out(note: str) -> tuple[str, str]:
    """Name and reason in a note; the middle of a name of hundreds of characters counts for nothing."""
    _, name, reason = note.split(": ", 2)
    return "…" if "…" in name else name, reason


@contextmanager
def arena_of(
    site: Site,
    owner: Owner,
    settings: Mapping[str, str],
    competition: Competition,
    client: docker.DockerClient,
    folder: Path,
) -> Iterator[Arena]:
    canaries = Canaries.hatch(owner.broker_url)
    host = folder / "host"
    (host / "input").mkdir(parents=True)
    (host / "secret").write_text(canaries.host_file)
    (host / "input" / "numbers.txt").write_text("1 2 3")
    (host / "input" / "probe.py").write_bytes((INSIDE / "probe.py").read_bytes())
    (host / "input" / "probe.json").write_text("{}")
    changes: dict[str, Any] = {
        "LOG_LEVEL": "DEBUG",
        "AWS_SECRET_ACCESS_KEY": canaries.environment,
        "WORKER_PARTICIPANT_INPUT_DIR": str(host / "input"),
        "WORKER_MEMORY_LIMIT": str(MEMORY_LIMIT),
        "WORKER_PIDS_LIMIT": str(PIDS_LIMIT),
        "WORKER_SHM_SIZE": str(SHM_SIZE),
        "WORKER_LOG_LIMIT": str(LOG_LIMIT),
        "WORKER_BUNDLE_LIMIT": str(ARCHIVE_LIMIT),
        "WORKER_LIVE_LOGS": "1s",
    }
    with ExitStack() as stack:
        stack.callback(
            remove_tree, folder / "temp" / "runs"
        )  # after a failure: pytest's own removal is no match for them
        here = stack.enter_context(station(site, owner, settings, folder, **changes))
        witness = stack.enter_context(Witness(client, here.worker))
        yield Arena(here, witness, competition, canaries, host)
