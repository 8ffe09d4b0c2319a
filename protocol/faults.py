"""Why a run did not end well, and whose fault that was.

    Fault                     told to the site as a `failed` status, in one plain sentence
    ├── MessageFault          the run message cannot be understood: the publisher's
    ├── ParticipantFault      the participant's image, container, archive or output
    ├── OrganiserFault        the organiser's program, command or bundle
    ├── CancelledFault        nobody's: whoever may has cancelled the run
    └── PlatformFault         neither's: the broker, the engine, the store, the worker itself
        ├── PassingFault      another attempt may succeed: the run goes back to the queue
        ├── LastingFault      no attempt will succeed
        └── UnexpectedFault   a bug: the sentence holds a reference number that the log has, too

Faults are raised to end a run, and are returned as values by `worker.stages.verdict`. The
`sentence` is for the person who can act on it and is public; the `detail` is for the
operator's log alone and may name hosts, paths and codes (the logger redacts signatures).
"""

from __future__ import annotations


class Fault(Exception):
    """A reason to end a run as failed.

    `sentence` begins by naming the party at fault ("Your submission …", "The organiser's …
    program …", "The platform …"); it must not hold hidden data, signatures or host paths.
    """

    def __init__(self, sentence: str, *, detail: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.detail = detail


class MessageFault(Fault):
    """The body is no run message; `field` names the field to mend, where one can be named.

    `task_id` and `secret` are what could still be read of the message, so that the site can be told.
    """

    def __init__(
        self,
        sentence: str,
        *,
        field: str = "",
        detail: str = "",
        task_id: int | str | None = None,
        secret: str | None = None,
    ) -> None:
        super().__init__(sentence, detail=detail)
        self.field = field
        self.task_id = task_id
        self.secret = secret


class ParticipantFault(Fault):
    """The participant's image, container, archive or output is to blame."""


class OrganiserFault(Fault):
    """The organiser's program, its command or one of the organiser's bundles is to blame."""


class CancelledFault(Fault):
    """Whoever may has cancelled the run: nobody's fault."""

    def __init__(self) -> None:
        super().__init__("Your submission was cancelled.")


class PlatformFault(Fault):
    """Neither participant nor organiser can mend it."""


class PassingFault(PlatformFault):
    """Infrastructure that may be back soon: engine restarting, 5xx, a reset connection, a full disk."""


class LastingFault(PlatformFault):
    """Infrastructure that will refuse the same run again: a signed URL that is expired or refused."""


class UnexpectedFault(PlatformFault):
    """A bug in the worker; `reference` is the number that ties the site's sentence to the log."""

    def __init__(self, reference: str, *, detail: str = "") -> None:
        super().__init__(
            f"The platform met an unexpected error; its operator finds it in the log under {reference}.",
            detail=detail,
        )
        self.reference = reference
