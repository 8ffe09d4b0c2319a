"""Clocks: signed URLs are judged by ours, so one that is wrong fails good runs or begins hopeless ones."""

from __future__ import annotations

from worker.preflight.lines import CheckLine, failed, ok, warning

_TOLERATED = 10.0  # seconds: AMQP tells whole ones, and a busy host is late
_WRONG = 300.0  # clients of stores sign URLs to begin some minutes ago, which makes up for no more
_MEND = "Set this host's clock: timedatectl set-ntp true"


def clock_line(whose: str, theirs: float, ours: float) -> CheckLine:
    """How far our clock is from another's, both in epoch seconds, read at about the same time."""
    skew = ours - theirs
    if abs(skew) <= _TOLERATED:
        return ok("clock", f"as {whose} has it, to within {_TOLERATED:g} s")
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of {whose}"
    return (failed if abs(skew) > _WRONG else warning)("clock", found, _MEND)
