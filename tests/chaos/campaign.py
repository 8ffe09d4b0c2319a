"""Runs and faults until every run has ended, then a quiet end, and what can be seen from outside."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from uuid import uuid4

import requests

from protocol.codalab import RUN_TASK
from tests.chaos.faults import OFTEN, RARE, Mischief, restart_engine
from tests.chaos.fleet import Member, fleet
from tests.chaos.place import Place
from tests.chaos.report import Figures
from tests.chaos.witness import Run, Witness
from tests.support.competition import ANSWER, Submission
from tests.support.telling import Telling
from worker.demo.places import say

_LOOK = 0.5  # seconds between two looks at what is left
_JUST = 0.2  # seconds, on a machine that does all this at once, from the broker's taking an end to its acknowledgement
_TELL = 15.0  # seconds between two lines for whoever waits
_SCORER = b"command: sh $program/score.sh $input $output\n"
_SCORE = b'cmp -s "$1/ref/truth.txt" "$1/res/answer.txt" && echo "correct: 1" > "$2/scores.txt"'


@dataclass(frozen=True, slots=True)
class Plan:
    """`minutes` bound the whole; `pause` is the mean of seconds between two faults, `ttl` of leases in seconds."""

    seed: int
    runs: int = 200
    workers: int = 3
    minutes: float = 10.0
    pause: float = 2.0
    ttl: float = 12.0
    rare: bool = True


@dataclass
class Campaign:
    """One chaos, from the first message to the figures."""

    plan: Plan
    place: Place
    witness: Witness
    members: list[Member]
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = Random(self.plan.seed)  # noqa: S311 -- to be repeated
        self._mischief = Mischief(self.place, self.members, self._random, self.plan.ttl)
        self._began = time.monotonic()
        self._exit_codes: list[int] = []

    def run(self) -> Figures:
        for member in self.members:
            member.start()
        self._break_things()
        self._make_good()
        self._wait(lambda: not self.witness.open, until=self.plan.minutes * 60)
        self._wait(lambda: self.place.messages_left() == 0, until=self._elapsed + 2 * self.plan.ttl)
        self._wait(self._is_tidy, until=self._elapsed + 2 * self.plan.ttl)
        self._exit_codes = [member.stop() for member in self.members]
        self.witness.hear_out()
        return self._figures()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _is_tidy(self) -> bool:
        """A worker that was killed waits, for as long as a lease may last, for the messages of what it left."""
        return not self.witness.containers_left() and not any(member.leftovers() for member in self.members)

    def _publish(self) -> None:
        """A few more than there are slots, so that there are runs to come whatever happens."""
        while len(self.witness.runs) < self.plan.runs and len(self.witness.open) < 4 * self.plan.workers:
            try:
                message, submission = str(uuid4()), self._submission()
            except requests.RequestException as error:
                say("chaos", f"the real store is slow, the next run comes later: {type(error).__name__}")
                return
            self.witness.expect(message, submission)
            body = {"task": RUN_TASK, "id": message, "args": [submission.task_id, submission.task_args], "kwargs": {}}
            self.place.runs.publish(json.dumps(body).encode())

    def _submission(self) -> Submission:
        """Scoring runs and predictions; one in ten fails for a reason of its own."""
        script = f"sleep {self._random.uniform(0, 3):.2f}; {ANSWER}"
        if self._random.random() < 0.1:
            script += "; exit 3"
        return self.place.competition.docker_submission(
            script,
            predict=self._random.random() < 0.5,
            documents={"input.txt": {"ref": "ref.zip", "res": ""}},
            execution_time_limit=60,
        )

    def _break_things(self) -> None:
        """Until all runs have ended, or so little time is left that only a quiet end can come of it."""
        last = self.plan.minutes * 60 - 10 * self.plan.ttl
        next_fault, next_word = self.plan.pause, _TELL
        rare = list(RARE) if self.plan.rare else []
        self._publish()
        while self.witness.open and self._elapsed < last:
            self._publish()
            self._mischief.agenda.run_due()
            self._revive()
            if rare and self._ended >= (len(RARE) - len(rare) + 0.5) / len(RARE):
                self._strike(rare.pop(0))
            if self._elapsed >= next_fault:
                self._strike(self._random.choices(list(OFTEN), list(OFTEN.values()))[0])
                next_fault = self._elapsed + self._random.expovariate(1 / self.plan.pause)
            if self._elapsed >= next_word:
                self._say()
                next_word = self._elapsed + _TELL
            time.sleep(0.05)

    @property
    def _ended(self) -> float:
        """What part of all runs."""
        return (len(self.witness.runs) - len(self.witness.open)) / self.plan.runs

    def _strike(self, fault: Callable[[Mischief], bool]) -> None:
        struck = time.time()
        if fault(self._mischief):
            self.faults[fault.__name__] += 1
        if fault is restart_engine:
            self.witness.watch_engine(struck)

    def _revive(self) -> None:
        for member in self.members:
            member.revive()

    def _make_good(self) -> None:
        self._mischief.agenda.run_due(everything=True)
        for member in self.members:
            member.proxy.let_through()
            member.start()

    def _wait(self, done: Callable[[], bool], *, until: float) -> None:
        next_word = self._elapsed + _TELL
        while not done() and self._elapsed < until:
            time.sleep(_LOOK)
            self._revive()
            if self._elapsed >= next_word:
                self._say()
                next_word = self._elapsed + _TELL

    def _say(self) -> None:
        ended, faults = len(self.witness.runs) - len(self.witness.open), self.faults.total()
        say("chaos", f"{self._elapsed:.0f} s: {ended} of {self.plan.runs} runs have ended, {faults} faults")

    def _figures(self) -> Figures:
        runs = self.witness.runs.values()
        twice = [run for run in runs if len(run.distinct) > 1 and not self._in_the_window(run)]
        return Figures(
            seed=self.plan.seed,
            workers=self.plan.workers,
            runs=len(runs),
            finished=sum("finished" in run.statuses for run in runs),
            failed=sum("failed" in run.statuses for run in runs),
            faults=dict(sorted(self.faults.items())),
            recomputed=self.witness.recomputed(),
            resent=sum(len(run.tellings) - len(run.distinct) for run in runs),
            in_the_window=sum(len(run.distinct) > 1 and self._in_the_window(run) for run in runs),
            lost=len(self.witness.open),
            duplicated=len(twice),
            contradictory=sum(len(run.statuses) > 1 for run in twice),
            results_missing=sum(not run.has_results for run in runs),
            containers_orphaned=self.witness.containers_left(),
            messages_left=self.place.messages_left(),
            folders_left=sum(member.leftovers() for member in self.members),
            unclean_exits=sum(map(bool, self._exit_codes)) + sum(member.gave_up for member in self.members),
            revived=sum(member.revived for member in self.members),
            bugs=sum(len(member.bugs()) for member in self.members),
            wall_time=round(self._elapsed, 1),
        )

    def _in_the_window(self, run: Run) -> bool:
        """Where whoever told an end that was not the last was killed just then, and so may not have acknowledged it."""
        return all(self._was_killed_just_after(telling) for telling in run.distinct[:-1])

    def _was_killed_just_after(self, telling: Telling) -> bool:
        deaths = next(member.deaths for member in self.members if member.name == telling.teller)
        return any(abs(death - telling.at) <= _JUST for death in deaths)


def wreak(plan: Plan, place: Place) -> tuple[Figures, list[Run]]:
    """All of it; gives the figures, and the runs of which something must not be."""
    with Witness(place) as witness, fleet(place, plan.workers, plan.ttl) as members:
        figures = Campaign(plan, place, witness, members).run()
        return figures, [run for run in witness.runs.values() if len(run.distinct) != 1 or not run.has_results]
