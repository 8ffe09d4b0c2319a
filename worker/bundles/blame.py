"""Who is to blame for a bundle that cannot be had, in the one sentence that the site is told."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.faults import Fault, LastingFault, OrganiserFault, ParticipantFault, PassingFault
from sandbox.logs import size
from worker.archives.unpack import BadArchive
from worker.storage.errors import StoreUnavailable, TooLarge, TransferError, UrlRefused

_NOUNS = {
    "": "run bundle",
    "program": "scoring program",
    "ingestion_program": "ingestion program",
    "input": "input data",
    "input/ref": "reference data",
    "input/res": "predictions",
    "hidden_ref": "hidden reference data",
}


@dataclass(frozen=True, slots=True)
class Blame:
    """Tells faults apart by the bundle's name; the one named `submission` is the participant's own."""

    submission: str

    def fault(self, name: str, error: TransferError | BadArchive) -> Fault:
        """The fault in that error of that bundle."""
        match error:
            case StoreUnavailable():
                return PassingFault(
                    f"The platform's store did not hand out {self._object(name)} in time.",
                    detail=str(error),
                )
            case UrlRefused():
                answer = f"HTTP {error.status}" if error.status else error.reason
                return LastingFault(
                    f"The platform's store refused to hand out {self._object(name)} ({answer}): its link has expired"
                    " or leads nowhere; submit again, or tell its operator.",
                    detail=str(error),
                )
            case TooLarge():
                return self._maker(name, f"is too large: it has more than {size(error.limit)}.", str(error))
            case BadArchive():
                # What is in organisers' archives may be hidden from participants, names too.
                reason = str(error) if name == self.submission else error.reason
                return self._maker(name, f"cannot be unpacked: it {reason}.", str(error))
            case _:
                return PassingFault(f"The platform could not fetch {self._object(name)}.", detail=str(error))

    def _maker(self, name: str, what: str, detail: str) -> Fault:
        """The fault of whoever made the bundle."""
        if name == self.submission:
            return ParticipantFault(
                f"Your submission {what} Make a new zip archive of it, and submit again.", detail=detail
            )
        return OrganiserFault(
            f"The organiser's {_noun(name)} {what} The organiser must upload it again.", detail=detail
        )

    def _object(self, name: str) -> str:
        return "your submission" if name == self.submission else f"the {_noun(name)}"


def _noun(name: str) -> str:
    return _NOUNS.get(name, f"bundle {name}")
