"""How much of a quota one worker uses, so that it leases no more than it needs."""

from __future__ import annotations

import math

_DEMAND_SECONDS = 2.0  # time constant of the average demand
_GRANTED_SECONDS = 5.0  # time constant of the average of granted calls
_NEW = 0.05  # weight of a call in the moving average of tokens


class Demand:
    """
    Moving averages of the calls that came and the units that were granted.

    Attributes:
        calls: Calls that came since `rate` was last read, let through or not.
        sent: Calls that were let through since then.
        tokens: Tokens that those took.
        mean: Tokens of a call, as a moving average.
        used_at: When a call was last seen, in monotonic seconds.
        granted: Calls a second that were granted lately.
    """

    __slots__ = ("_granted_at", "_looked_at", "_rate", "calls", "granted", "mean", "sent", "tokens", "used_at")

    def __init__(self, now: float) -> None:
        self.calls = self.sent = 0
        self.tokens = 0.0
        self.mean = 0.0
        self.granted = self._rate = 0.0
        self.used_at = self._looked_at = self._granted_at = now

    def rate(self, now: float) -> float:
        """Calls a second that came lately."""
        self._rate *= math.exp(-max(0.0, now - self._looked_at) / _DEMAND_SECONDS)
        self._looked_at = now
        if self.calls:
            self._rate += self.calls / _DEMAND_SECONDS
            self.calls, self.used_at = 0, now
        if sent := self.sent:
            weight = 1.0 if self.mean == 0 else 1 - (1 - _NEW) ** sent
            self.mean += (self.tokens / sent - self.mean) * weight
            self.sent, self.tokens, self.used_at = 0, 0.0, now
        return self._rate

    def was_granted(self, calls: float, now: float) -> None:
        """Note that the server has granted so many calls."""
        fading = math.exp(-max(0.0, now - self._granted_at) / _GRANTED_SECONDS)
        self.granted = self.granted * fading + calls / _GRANTED_SECONDS
        self._granted_at = now
