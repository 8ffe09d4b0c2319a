"""What was found out of a fleet: while it idles, and of each kind of run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

MUST_BE_ZERO = ("lost", "duplicated", "otherwise", "messages_left")
_Table = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Idle:
    """One worker that has nothing to do: all per worker, messages and octets a second and by connection.

    Memory is bytes, CPU percent of one core; `broker_resident_alone` is of a broker without any worker.
    """

    connections: float
    channels: float
    consumers: float
    queues: float
    erlang_processes: float
    files: float
    messages: _Table
    octets: _Table
    broker_memory: float
    broker_memory_by_use: Mapping[str, int]
    broker_cpu: float
    worker_cpu: float
    worker_resident: float
    worker_proportional: float
    broker_resident_alone: int


@dataclass(frozen=True, slots=True)
class Gone:
    """What the broker keeps of a worker that has ended, per worker, until it expires; memory is bytes."""

    queues: float
    erlang_processes: float
    broker_memory: float


@dataclass(frozen=True, slots=True)
class Phase:
    """So many runs of one kind, published all at once. `seconds` from the first publish to the last terminal status.

    `otherwise` counts runs that ended other than they must. Messages, octets, declarations and CPU seconds are per
    run, and by connection where they have one; memory is bytes at the end, of the whole broker and the middle worker.
    """

    kind: str
    runs: int
    lost: int
    duplicated: int
    otherwise: int
    messages_left: int
    seconds: float
    per_minute: float
    runs_of_workers: Sequence[int]
    evenness: float
    messages: _Table
    octets: _Table
    declares: float
    broker_cpu: float
    worker_cpu: float
    broker_memory: int
    broker_resident: int
    broker_peak_resident: int
    worker_resident: float
    worker_proportional: float
    share_of_engine: float | None = None

    @property
    def good(self) -> bool:
        """True where everything that must be zero is."""
        return not any(getattr(self, name) for name in MUST_BE_ZERO)


@dataclass(frozen=True, slots=True)
class Figures:
    """All of one fleet. `engine` is its own rate, containers a minute, before and after.

    `unclean_exits` counts workers that did not end in good order.
    """

    workers: int
    engine: Sequence[float]
    idle: Idle
    phases: Sequence[Phase]
    gone: Gone
    unclean_exits: int

    @property
    def good(self) -> bool:
        """True where everything that must be zero is."""
        return not self.unclean_exits and all(phase.good for phase in self.phases)

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def evenness(shares: Sequence[int]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one of n has everything."""
    squares = len(shares) * sum(share**2 for share in shares)
    return sum(shares) ** 2 / squares if squares else 0.0
