"""
A quota on the fast path: while there are units left, a call takes what it needs and goes on.

A quota of requests alone needs one lock and does not read the clock. When callers are queued, and after a refusal, the
ordinary layers decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .estimate import TokenEstimate
from .gate import SAYS_NOTHING, Sent

if TYPE_CHECKING:
    from resilient_ai._core.policy import Site

    from .gate import RateGate

_NO_TOKENS = TokenEstimate(None)


class FastQuota:
    """
    A quota of requests, as `Permits`. A permit is the time at which a call was let through.

    Args:
        gate: The gate of the quota.
    """

    __slots__ = ("_quota", "owner")

    def __init__(self, gate: RateGate) -> None:
        self.owner = gate
        self._quota = gate.quota

    def enter(self, now: float, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> float | None:
        """The time if a call may be sent at once, else None."""
        if self._quota.enter_quickly(now, self.owner.lock) or self.owner.enter(0.0, _NO_TOKENS) is not None:
            return now
        return None

    def give_back(self, permit: float, now: float) -> None:  # noqa: ARG002
        """Return the units of a call that was not made after all."""
        self.owner.not_made(0.0)

    def succeeded(self, permit: float, now: float, result: Any) -> None:
        """Take in the good answer of a call."""
        if type(result) in SAYS_NOTHING:
            self._quota.succeeded += 1
            self._quota.answer_time.add(now - permit)
        else:  # it may have headers that say what is left
            self.owner.succeeded(sent_of(permit, self.owner), result)


class FastTokens:
    """
    A quota of tokens, as `Permits`. A permit is a `Sent`, which takes in the usage of its call.

    Args:
        gate: The gate of the quota.
        estimate: The token estimate of the function.
        site: The call site.
        method: Whether the first argument is the instance.
    """

    __slots__ = ("_endpoint", "_estimate", "_handed", "_method", "owner")

    def __init__(self, gate: RateGate, estimate: TokenEstimate, site: Site, *, method: bool) -> None:
        self.owner = gate
        self._estimate = estimate
        self._endpoint = site.endpoint
        self._handed = () if site.handed is None else (site.handed,)  # the argument that the policy above hands in
        self._method = method

    def enter(self, now: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sent | None:  # noqa: ARG002
        """The call if it may be sent at once, else None."""
        instance = None
        if self._method and args:
            instance, args = args[0], args[1:]
        estimate = self._estimate
        try:
            guessed = estimate.guess(instance, self._handed + args, kwargs)
        except Exception:  # noqa: BLE001 - a function of the user's: the layers raise it
            return None
        sent = self.owner.enter(guessed, estimate)
        if sent is not None:
            sent.begin(self._endpoint)
        return sent

    def give_back(self, permit: Sent, now: float) -> None:  # noqa: ARG002
        """Return the units of a call that was not made after all."""
        permit.end()
        self.owner.not_made(permit.tokens)

    def succeeded(self, permit: Sent, now: float, result: Any) -> None:  # noqa: ARG002
        """Take in the good answer of a call."""
        permit.end(result=result)
        self.owner.succeeded(permit, result)


def sent_of(permit: float | Sent, gate: RateGate) -> Sent:
    """The `Sent` of a permit, for the ordinary layers."""
    return permit if isinstance(permit, Sent) else Sent(0.0, 0.0, _NO_TOKENS, permit, gate.quota)
