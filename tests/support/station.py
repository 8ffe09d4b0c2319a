"""A daemon with a queue of its own, for runs that are published all at once and looked at one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import docker

from sandbox.labels import RUN
from tests.support.competition import Competition, Submission
from tests.support.rabbit import Owner
from tests.support.run_queue import RunQueue, run_message
from tests.support.site import Site, Update
from tests.support.worker_process import WorkerProcess, worker
from worker.broker.delivery import ATTEMPTS_HEADER

TERMINAL = {"finished", "failed"}
# What no participant may read: signatures, paths of the worker's host, its own code.
_PRIVATE = re.compile(r"sig=|[?&]se=|Signature|/tmp/|/runs/|\.py\b|Error\(|Traceback")
Name = TypeVar("Name")


class Station:
    """Publishes runs to its own worker; each is known to the site by its task id."""

    def __init__(self, site: Site, queue: RunQueue, worker: WorkerProcess) -> None:
        self.site = site
        self.queue = queue
        self.worker = worker
        self.published: dict[str, Submission] = {}
        """By the ids of their messages, which are on the labels of their containers."""

    def publish(self, submission: Submission) -> None:
        """As a site does."""
        vhost = self.queue.owner.vhost
        task_id, task_args = submission.task_id, submission.task_args
        message_id = self.site.publish_run(task_id, task_args, queue=self.queue.name, vhost=vhost)
        self.published[message_id] = submission

    def publish_for_the_last_attempt(self, submission: Submission) -> None:
        """As a worker puts back a run whose every attempt but the last has failed."""
        message_id = str(uuid4())
        body = run_message([submission.task_id, submission.task_args], id=message_id)
        self.queue.publish(body, headers={ATTEMPTS_HEADER: 2})
        self.published[message_id] = submission

    def publish_all(self, submissions: dict[Name, Submission]) -> dict[Name, Submission]:
        for submission in submissions.values():
            self.publish(submission)
        return submissions

    def told(self, submission: Submission, timeout: float = 90.0) -> list[Update]:
        """What the site is told of it, up to the end."""
        updates = self.site.updates_until_end(submission.task_id, timeout)
        assert {update.secret for update in updates} <= {submission.task_args["secret"]}
        return updates

    def finished(self, submission: Submission) -> None:
        updates = self.told(submission)
        assert [update.status for update in updates] == ["running", "finished"], updates[-1].traceback

    def failed(self, submission: Submission, *, running: int = 1) -> str:
        """The sentence that the site is told, after having been told `running` that many times."""
        updates = self.told(submission)
        assert [update.status for update in updates] == ["running"] * running + ["failed"]
        sentence, _, _ = updates[-1].traceback.partition("\n\n")
        assert not _PRIVATE.search(sentence), sentence
        assert submission.task_args["secret"] not in updates[-1].traceback
        assert str(self.worker.temp_dir) not in updates[-1].traceback
        return sentence

    @property
    def rejected_folder(self) -> Path:
        return self.worker.temp_dir / "rejected"

    def rejected(self) -> list[bytes]:
        """The raw bodies that were kept of messages that are no runs."""
        return [path.read_bytes() for path in self.rejected_folder.iterdir()]

    def is_none_the_worse(self, competition: Competition, client: docker.DockerClient) -> None:
        """A good run works, and then nothing is left: no message, container, folder, word too many or secret."""
        good = competition.docker_submission()
        self.publish(good)
        self.finished(good)
        assert good.archive()["scores.txt"] == b"correct: 1\n"
        assert self.worker.stop() == 0
        assert list((self.worker.temp_dir / "runs").iterdir()) == []
        assert self.queue.count() == 0  # unsettled ones would have come back by now
        assert self.published.keys().isdisjoint(
            one.labels[RUN] for one in client.containers.list(all=True, filters={"label": RUN}, ignore_removed=True)
        )
        self.site.settle()
        for submission in self.published.values():
            statuses = [update.status for update in self.site.of(submission.task_id)]
            assert len(TERMINAL.intersection(statuses)) == 1, statuses
            assert statuses[-1] in TERMINAL
        self._log_is_discreet()

    def _log_is_discreet(self) -> None:
        log = self.worker.log.read_text()
        assert "sig=" not in log
        assert not [one.task_id for one in self.published.values() if one.task_args["secret"] in log]
        assert "unexpected error" not in log
        assert "a bug" not in log


@contextmanager
def station(
    site: Site, owner: Owner, settings: Mapping[str, str], folder: Path, *, queue: RunQueue | None = None, **more: Any
) -> Iterator[Station]:
    """Has one for a while; `more` are settings of its worker, which works eight runs at a time."""
    own = queue or RunQueue(owner, f"runs-{uuid4().hex[:8]}")
    # A short lease makes for short pauses between attempts: two seconds, then eight.
    slots = {
        "WORKER_LEASE_TTL": "16s",
        "WORKER_CONCURRENCY": "8",
        "WORKER_CPU_LIMIT": "2",
        "WORKER_MEMORY_LIMIT": "512m",
    }
    with worker({**settings, **slots, "WORKER_QUEUE": own.name, **more}, folder) as running:
        yield Station(site, own, running)
