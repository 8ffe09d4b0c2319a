"""The figures of one chaos, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

MUST_BE_ZERO = (
    "lost",
    "duplicated",
    "contradictory",
    "results_missing",
    "containers_orphaned",
    "messages_left",
    "folders_left",
    "unclean_exits",
    "bugs",
)
_WORDS = {
    "lost": "runs lost",
    "duplicated": "terminal statuses duplicated",
    "contradictory": "terminal statuses contradictory",
    "resent": "terminal statuses sent again, word for word",
    "in_the_window": "told twice, the first teller killed within 0.2 s of it",
    "recomputed": "runs recomputed",
    "results_missing": "finished runs without results",
    "containers_orphaned": "containers orphaned",
    "messages_left": "messages left",
    "folders_left": "run folders and mounts left",
    "unclean_exits": "workers that ended uncleanly",
    "revived": "starts without an engine, made again",
    "bugs": "bugs in logs",
    "wall_time": "wall time, seconds",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """`faults` by their kind; `in_the_window` and `resent` are explained in docs/architecture.md."""

    seed: int
    workers: int
    runs: int
    finished: int
    failed: int
    faults: Mapping[str, int]
    recomputed: int
    resent: int
    in_the_window: int
    lost: int
    duplicated: int
    contradictory: int
    results_missing: int
    containers_orphaned: int
    messages_left: int
    folders_left: int
    unclean_exits: int
    revived: int
    bugs: int
    wall_time: float

    @property
    def good(self) -> bool:
        """True where everything that must be zero is."""
        return not any(getattr(self, name) for name in MUST_BE_ZERO)

    def table(self) -> str:
        """One line a figure."""
        rows = [(f"faults: {name.replace('_', ' ')}", count, "") for name, count in self.faults.items()]
        for name, value in asdict(self).items():
            if name != "faults":
                rows.append((_WORDS.get(name, name), value, self._verdict(name)))
        width = max(len(name) for name, _, _ in rows)
        return "\n".join(f"{name:{width}}  {value:>10}  {verdict}".rstrip() for name, value, verdict in rows)

    def save(self, folder: Path) -> Path:
        """Writes them to a new file named by the moment."""
        folder.mkdir(parents=True, exist_ok=True)
        moment = datetime.now(UTC)
        path = folder / f"{moment:%Y-%m-%dT%H%M%SZ}.json"
        path.write_text(json.dumps({"date": moment.isoformat(timespec="seconds"), **asdict(self)}, indent=2) + "\n")
        return path

    def _verdict(self, name: str) -> str:
        if name not in MUST_BE_ZERO:
            return ""
        return "MUST BE 0" if getattr(self, name) else "ok"
