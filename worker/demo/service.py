"""What one running part is: where it answers, and what is to be undone when it goes."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from worker.demo.processes import Child


@dataclass(frozen=True)
class Service:
    """A part that answers. One without children was there before us, and is never stopped by us."""

    name: str
    address: dict[str, str]
    """The fields of `Parts` that this service fills."""
    children: tuple[Child, ...] = ()
    undo: dict[str, str] = field(default_factory=dict)
    """What else its start changed on the machine, for its own `stop` to put back."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values for the state file."""
        return asdict(self)

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> Self:
        """Read back what `to_json` gave."""
        children = tuple(Child(**child) for child in known["children"])
        return cls(known["name"], known["address"], children, known["undo"])


class Part(Protocol):
    """What each of the modules rabbitmq, engine, azurite and registry offers."""

    def system_packages(self) -> list[str]:
        """Name the Debian packages that are still to be installed."""

    def start(self, folder: Path) -> Service:
        """Bring the part up, its files in that folder; return once it answers."""

    def answers(self, service: Service) -> bool:
        """Really ask whether it works now."""

    def stop(self, service: Service) -> None:
        """End what `start` began, and put back what it changed."""
