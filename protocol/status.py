"""How the site is told of a run: states, their order, and the update as the site's task takes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum

from protocol.plain_text import scrubbed

UPDATE_TASK = "apps.web.tasks.update_submission"
"""The site's Celery task for updates (protocol-facts.md 2)."""

MAX_TRACEBACK = 16_384
"""Characters of a traceback that go to the site; the middle of a longer one is left out."""

_HEAD = 4_096  # the first sentence is what counts, then the end
_CUT = "\n[… the middle is left out …]\n"


class State(StrEnum):
    """The site's states that a worker may set."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """True where nothing may follow."""
        return self is not State.RUNNING


def may_follow(previous: State | None, state: State) -> bool:
    """Whether `state` may be told after `previous` (None: nothing told yet).

    First `running`, then one of `finished` and `failed`; a run refused before it starts is `failed` at once.
    """
    if previous is None:
        return state is not State.FINISHED
    return not previous.is_terminal and state.is_terminal


@dataclass(frozen=True, slots=True)
class RunMetadata:
    """What the site shows of the worker beside a run; keys and defaults are the wire's (update-* fixtures).

    Memory and swap are JSON texts of psutil's figures (`{"total": …, "percent": …}`, bytes), CPU is percent,
    the ingestion program's duration is seconds; None is what was not measured.
    """

    hostname: str
    ingestion_program_duration: float | None = None
    processes_running_in_temp_dir: str = "<DISABLED>"
    beginning_virtual_memory_usage: str | None = None
    beginning_swap_memory_usage: str | None = None
    beginning_cpu_usage: float | None = None
    end_virtual_memory_usage: str | None = None
    end_swap_memory_usage: str | None = None
    end_cpu_usage: float | None = None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """One update of one run. `traceback` is told with `failed` only: a sentence, then the tail of stderr."""

    task_id: int | str
    state: State
    metadata: RunMetadata
    traceback: str = ""
    secret: str = field(repr=False, kw_only=True)

    def arguments(self) -> tuple[int | str, dict[str, object], str]:
        """The arguments of `UPDATE_TASK`, to be put into a Celery envelope."""
        extra: dict[str, object] = {"metadata": asdict(self.metadata)}
        if self.state is State.FAILED:
            extra["traceback"] = _bounded(scrubbed(self.traceback))
        return self.task_id, {"status": self.state.value, "extra": extra}, self.secret


def _bounded(text: str) -> str:
    if len(text) <= MAX_TRACEBACK:
        return text
    return text[:_HEAD] + _CUT + text[-(MAX_TRACEBACK - _HEAD - len(_CUT)) :]
