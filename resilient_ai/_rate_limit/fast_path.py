"""
A quota of requests on the fast path: while there is room, a call takes its part of it with one look and one lock.

Where tokens are limited, where callers wait, after a refusal, and when the time has to be counted, the layers decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .estimate import TokenEstimate
from .gate import SAYS_NOTHING, Sent

if TYPE_CHECKING:
    from .gate import RateGate


class FastQuota:
    """
    One quota as `Permits`; a permit is the time at which a call was let through.

    Args:
        gate: Of the quota.
    """

    __slots__ = ("_gate", "_quota")

    def __init__(self, gate: RateGate) -> None:
        self._gate = gate
        self._quota = gate.quota

    def enter(self, now: float) -> float | None:
        """The time, if a call may be sent at once."""
        return now if self._quota.enter_quickly(now, self._gate.lock) else None

    def succeeded(self, permit: float, now: float, result: Any) -> None:
        """The call of a permit has given a good answer."""
        if type(result) in SAYS_NOTHING:
            self._quota.succeeded += 1
            self._quota.answer_time.add(now - permit)
        else:  # it may have headers that tell what is left
            self._gate.succeeded(sent_at(permit, self._gate), result)


def sent_at(permit: float, gate: RateGate) -> Sent:
    """The call of a permit, for the layers."""
    return Sent(0.0, 0.0, TokenEstimate(None), permit, gate.quota)
