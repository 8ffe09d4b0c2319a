"""Who is measured, and how much: this worker under any settings, and workers of other makes by their command lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.daemon import Daemon, other_daemon, our_daemon
from tests.bench.site import UPDATES, Site, site
from tests.bench.surroundings import Surroundings
from tests.support.competition import Submission

PATIENCE = 60.0
"""Seconds that a worker of another make may take to consume."""

_PULL_POLICIES = ("always", "if-not-present")  # the first asks a registry for each run, which no floor does

_QUEUE = "compute-worker"
_numbers = itertools.count()
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. Bytes and seconds; each tuple is a curve."""

    warm_ups: int = 2
    pairs: int = 12
    starts: int = 5
    idle: float = 20.0
    in_a_row: int = 20
    rounds: int = 3
    many: int = 100
    slots: tuple[int, ...] = (1, 2, 4)
    big_in: int = 256 * _MB
    big_out: int = 64 * _MB
    big_pairs: int = 3
    payloads: tuple[int, int] = (16 * _MB, 1000 * _MB)
    late: int = 3
    waiting: tuple[int, ...] = (1, 100, 1000)
    workers: tuple[int, ...] = (1, 4, 16)
    cached: tuple[int, ...] = (0, 100, 10_000)
    sample: int = 8


FULL = Sizes()
TINY = Sizes(
    warm_ups=0,
    pairs=1,
    starts=1,
    idle=0.5,
    in_a_row=2,
    rounds=1,
    many=4,
    slots=(2,),
    big_in=2 * _MB,
    big_out=_MB,
    big_pairs=1,
    payloads=(_MB, 2 * _MB),
    late=1,
    waiting=(2,),
    workers=(2,),
    cached=(10,),
    sample=1,
)
"""Whether all of it works; the figures say nothing."""


@dataclass(frozen=True, slots=True)
class Make:
    """A worker of another make: its name in the table, and its command line."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contender:
    """A worker that consumes, and the site's side of its queue."""

    name: str
    site: Site
    queue: str
    daemon: Daemon

    def together(self, submissions: list[Submission]) -> float:
        """Seconds a run, of all those at once."""
        return self.site.together(self.queue, submissions)[-1] / len(submissions)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every section is given."""

    around: Surroundings
    site: Site
    sizes: Sizes
    others: tuple[Make, ...] = ()

    @contextmanager
    def ours(self, name: str, *, queue: str = "", **settings: str) -> Iterator[Contender]:
        """This worker under these settings, on that queue or else one of its own."""
        number = next(_numbers)
        queue = queue or f"runs-{number}"
        environment = self.around.environment(WORKER_QUEUE=queue, **settings)
        with our_daemon(environment, self.around.folder / f"worker-{number}", self.site) as daemon:
            yield Contender(name, self.site, queue, daemon)

    @contextmanager
    def ours_by_pull_policy(self, name: str = "") -> Iterator[list[Contender]]:
        """This worker under each policy of pulling that is of use to a site."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(self.ours(f"{name}pull {policy}", WORKER_PULL_POLICY=policy))
                for policy in _PULL_POLICIES
            ]

    @contextmanager
    def theirs(self) -> Iterator[list[Contender]]:
        """Every worker of another make."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._other(make)) for make in self.others]

    @contextmanager
    def _other(self, make: Make) -> Iterator[Contender]:
        """On a virtual host of its own; what it tells goes to "/", as with a CodaLab site."""
        around, folder = self.around, self.around.folder / f"worker-{next(_numbers)}"
        with (
            around.management.owner() as owner,
            _updates_kept_clean(around),
            site(owner.broker_url, around.parts.broker_url) as theirs,
        ):
            environment = _environment(owner.broker_url, around.parts.docker_host, folder)
            with other_daemon(make.command, environment, folder, theirs, _QUEUE, PATIENCE) as daemon:
                yield Contender(make.name, theirs, _QUEUE, daemon)


def _environment(broker_url: str, docker_host: str, folder: Path) -> dict[str, str]:
    """In the names that today's workers know; the last two say what is their default anyway."""
    return {
        "BROKER_URL": broker_url,
        "BROKER_USE_SSL": "False",
        "USE_GPU": "False",
        "DOCKER_HOST": docker_host,
        "SUBMISSION_TEMP_DIR": str(folder / "temp"),
        "CODALAB_HOSTNAME": "bench",
        "WORKER_QUEUE": _QUEUE,
        "WORKER_UPDATES_QUEUE": UPDATES,
    }


@contextmanager
def _updates_kept_clean(around: Surroundings) -> Iterator[None]:
    """A queue for updates that the worker makes in "/", where there was none, goes again, unless somebody uses it."""
    found = around.management.get("queues/%2F")
    assert isinstance(found, list)
    was_there = any(queue["name"] == UPDATES for queue in found)
    try:
        yield
    finally:
        if not was_there:
            around.management.delete(f"queues/%2F/{UPDATES}?if-unused=true")
