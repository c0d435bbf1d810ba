"""How fast to send after a rate limit: at the rate that was being accepted, and then carefully faster."""

from __future__ import annotations

import math

from resilient_ai._core.clock import NEVER

from .provider_wait import ProviderWait
from .refusals import Speed

_KEPT = 0.7  # share of the rate that is kept after a cut, as in CUBIC (RFC 9438, section 4.6)
_PLATEAU_SECONDS = 5.0  # until the rate is back where it was; for as long again it is hardly exceeded
_TRIAL_PLATEAU_SECONDS = 3.0  # after a single refusal, which may be chance:
_TRIAL_CALLS = 20  # calls are sent more slowly then, to see whether that helps
_FREE_AFTER = 3.0  # plateaus after which anything may be sent: by then the curve is at 3.4 times the old rate
_SLOWEST = 0.1  # calls a second: no pace is slower,
_LOWEST_SHARE = 0.1  # nor slower than this share of what was accepted before the rate limit
_LATE = 4.0  # times the usual time of a refusal, and
_LATE_MARGIN = 0.1  # seconds more: a call that was not refused by then was taken
_LATEST_WEIGHT = 0.3  # of one refusal in the usual time


class Pace:
    """
    The rate of sending, unbounded until the first rate limit.

    The curve is CUBIC's, scaled to the rate instead of to packets: down to 0.7 of what was accepted, quickly back
    near it, slowly past it, then away. AWS SDKs throttle themselves by it in their adaptive retry mode.

    Attributes:
        free_at: From here on there is nothing to wait for.
    """

    __slots__ = (
        "_before",
        "_cut",
        "_floor",
        "_next",
        "_plateau",
        "_provider_wait",
        "_provisional",
        "_refusal_seconds",
        "_trial_left",
        "free_at",
    )

    def __init__(self) -> None:
        self._provider_wait = ProviderWait()
        self._before = math.inf  # the rate that was too fast
        self._floor = _SLOWEST
        self._cut = NEVER  # from when on the rate grows again
        self._plateau = _PLATEAU_SECONDS
        self._provisional = False  # whether nothing is known but one refusal
        self._trial_left = 0  # calls until a trial is over; 0: it is none
        self._next = NEVER  # no send before this
        self._refusal_seconds = 0.0  # that a refusal usually takes
        self.free_at = NEVER

    def rate(self, now: float) -> float | None:
        """Calls a second that may be sent; None: as many as like."""
        if now >= self.free_at:
            return None
        bend = max(0.0, now - self._cut) / self._plateau - 1.0
        return self._before * (1.0 + (1.0 - _KEPT) * bend**3)

    def wait(self, now: float, ahead: int = 0) -> float:
        """Seconds until the next call may be sent, or one with so many others ahead of it."""
        rate = self.rate(now)
        if rate is None:
            return 0.0
        if self._provisional:  # how many will be taken is not known
            return self._provider_wait.seconds(now, self._next)
        return max(self._next - now, self._provider_wait.seconds(now)) + ahead / rate

    def sent(self, now: float) -> Speed:
        """A call is sent."""
        rate = self.rate(now)
        if rate is None:
            return Speed.FREE
        if self._provisional or now < self._provider_wait.ends:
            self._provider_wait.sent(now)
        self._next = max(now, self._next) + 1.0 / rate
        if self._trial_left:
            self._trial_left -= 1
            if not self._trial_left:
                self.free_at = now
        return Speed.FAST if rate > self._before else Speed.SLOW

    def cut(self, now: float, accepted: float, *, trial: bool) -> None:
        """
        Send more slowly.

        Args:
            now: The moment.
            accepted: Calls a second that were taken of late.
            trial: There was a single refusal: for a few calls only.
        """
        paced = self.rate(now)
        if paced is None:
            self._floor = max(_SLOWEST, _LOWEST_SHARE * accepted)
            rate = accepted
        else:
            rate = min(paced, accepted)
            # Too fast below the last mark: other clients share this limit, so aim lower at once (RFC 9438, 4.7).
            if rate < self._before:
                rate *= (1.0 + _KEPT) / 2.0
        self._before = max(rate, self._floor / _KEPT)
        self._plateau = _TRIAL_PLATEAU_SECONDS if trial else _PLATEAU_SECONDS
        self._trial_left = _TRIAL_CALLS if trial else 0
        self._provisional = False
        self._next = now + 1.0 / (self._before * _KEPT)
        self._restart(now)

    def hold(self, now: float, seconds: float, began: float, *, provisional: bool) -> None:
        """
        Send nothing for the time that the provider asks for.

        Args:
            now: The moment.
            seconds: The provider's own wait.
            began: When the call began that was refused.
            provisional: Nothing else is known of the provider: both pace and wait end with the first call that it
                takes.
        """
        self._provisional = provisional
        self._provider_wait.begin(now, seconds, began, probe=not provisional)
        self._restart(max(now, self._provider_wait.ends))

    def caller_held(self, now: float) -> None:
        """A caller has to wait."""
        if self._provisional or now < self._provider_wait.ends:
            self._provider_wait.caller_held(now)

    def answer_due(self, now: float) -> float:
        """Seconds until it is known whether the latest probe was taken; inf without one."""
        seconds = self._provider_wait.probed_at + self.taken_after - now
        return seconds if seconds > 0.0 and now < self.free_at else math.inf

    @property
    def taken_after(self) -> float:
        """Seconds after which a call that was not refused must have been taken."""
        return _LATE * self._refusal_seconds + _LATE_MARGIN

    def refused_after(self, seconds: float) -> None:
        """A refusal came after so many seconds."""
        self._refusal_seconds += _LATEST_WEIGHT * (seconds - self._refusal_seconds)

    def taken(self, began: float, now: float) -> None:
        """A call that began then was taken."""
        if not self._provider_wait.is_refuted_by(began):
            return
        if self._provisional:
            self._provider_wait.ends = self.free_at = now
        elif now < self._provider_wait.ends:
            self._provider_wait.ends = now
            self._restart(now)

    def _restart(self, when: float) -> None:
        """The rate grows from then on."""
        self._cut = when
        self.free_at = when + _FREE_AFTER * self._plateau
