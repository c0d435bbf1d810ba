"""
How fast to send after a rate limit: at the rate that was accepted, and then carefully faster.

Where the provider was out just before, that rate is not known. Then the pace is a guess, which is doubled after every
second in which it was used and nothing was refused (TCP's slow start).
"""

from __future__ import annotations

import math

from resilient_ai._core.clock import NEVER

from .provider_wait import ProviderWait
from .refusals import Speed

_KEPT = 0.7  # share of the rate that is kept after a cut, as in CUBIC (RFC 9438, section 4.6)
_PLATEAU_SECONDS = 5.0  # until the rate is back where it was; it is hardly exceeded for as long again
_TRIAL_PLATEAU_SECONDS = 3.0  # after a single refusal, which may be chance:
_TRIAL_CALLS = 20  # calls are then sent more slowly, to see whether that helps
_FREE_AFTER = 3.0  # plateaus after which there is no pace: by then the curve is at 3.4 times the old rate
_SLOWEST = 0.1  # calls per second: no pace is slower,
_LOWEST_SHARE = 0.1  # nor slower than this share of the rate that was accepted before the rate limit
_GUESS = 1.0  # calls per second: no guess begins lower
_TRIED_SECONDS = 1.0  # until a guess is doubled
_USED = 0.5  # share of the calls that a guess allows: with fewer, nothing was tried
_LATE = 4.0  # times the usual time of a refusal, and
_LATE_MARGIN = 0.1  # seconds more: a call that was not refused by then was accepted
_LATEST_WEIGHT = 0.3  # of one refusal in the usual time of a refusal


class Pace:
    """
    The rate of sending, unlimited until the first rate limit.

    The curve is CUBIC's, scaled to the rate instead of to packets: down to 0.7 of the accepted rate, quickly back
    near it, slowly past it, then steeply up. AWS SDKs use it to throttle themselves in their adaptive retry mode.

    Attributes:
        free_at: When there is nothing to wait for any more.
    """

    __slots__ = (
        "_before",
        "_cut",
        "_floor",
        "_guessed",
        "_next",
        "_plateau",
        "_provider_wait",
        "_provisional",
        "_refusal_seconds",
        "_trial_left",
        "_tried",
        "free_at",
    )

    def __init__(self) -> None:
        self._provider_wait = ProviderWait()
        self._before = math.inf  # the rate that was too high
        self._floor = _SLOWEST
        self._cut = NEVER  # when the rate begins to grow again
        self._plateau = _PLATEAU_SECONDS
        self._provisional = False  # whether one refusal is all that is known
        self._trial_left = 0  # calls until a trial is over; 0: there is no trial
        self._guessed = math.inf  # since when the present guess is tried; inf: the rate was measured
        self._tried = 0  # calls sent since then
        self._next = NEVER  # nothing is sent before this
        self._refusal_seconds = 0.0  # how long a refusal usually takes
        self.free_at = NEVER

    def rate(self, now: float) -> float | None:
        """Return the calls per second that may be sent; None: any number."""
        if now >= self.free_at:
            return None
        bend = max(0.0, now - self._cut) / self._plateau - 1.0
        return self._before * (1.0 + (1.0 - _KEPT) * bend**3)

    def wait(self, now: float, ahead: int = 0) -> float:
        """Return the seconds until the next call may be sent, or a call with so many others ahead of it."""
        rate = self.rate(now)
        if rate is None:
            return 0.0
        if self._provisional:  # it is not known how many will be accepted
            return self._provider_wait.seconds(now, self._next)
        between = ahead / rate if self._guessed == math.inf else math.log2(1.0 + ahead / rate) * _TRIED_SECONDS
        return max(self._next - now, self._provider_wait.seconds(now)) + between

    def sent(self, now: float) -> Speed:
        """Record that a call is sent."""
        rate = self.rate(now)
        if rate is None:
            return Speed.FREE
        if self._provisional or now < self._provider_wait.ends:
            self._provider_wait.sent(now)
        self._tried += 1
        self._next = max(now, self._next) + 1.0 / rate
        if self._trial_left:
            self._trial_left -= 1
            if not self._trial_left:
                self.free_at = now
        return Speed.FAST if rate > self._before or self._guessed < math.inf else Speed.SLOW

    def not_sent(self, now: float) -> None:
        """Take back a call that was not sent after all: the next one need not wait for it."""
        if (rate := self.rate(now)) is not None:
            self._tried -= 1
            self._next -= 1.0 / rate

    def cut(self, now: float, accepted: float, *, trial: bool, measured: bool = True) -> None:
        """
        Send more slowly.

        Args:
            now: The time.
            accepted: Calls per second that were accepted recently.
            trial: Whether there was a single refusal, so that only a few calls are slowed down.
            measured: Whether that is what the provider accepts; if not, it is only the least.
        """
        paced = self.rate(now)
        if paced is None:
            self._floor = max(_SLOWEST, _LOWEST_SHARE * accepted)
            rate = accepted
        elif self._guessed < math.inf:
            rate = accepted if measured else max(accepted, self._before / 2.0)  # half of it was accepted
        else:
            rate = min(paced, accepted)
            # Too fast although slower than the last time: other clients share this limit, so aim lower at once
            # (RFC 9438, 4.7).
            if rate < self._before:
                rate *= (1.0 + _KEPT) / 2.0
        self._guessed = math.inf if measured else now
        self._set(now, rate if measured else max(rate, _GUESS))
        self._plateau = _TRIAL_PLATEAU_SECONDS if trial else _PLATEAU_SECONDS
        self._trial_left = _TRIAL_CALLS if trial else 0
        self._provisional = False
        self._next = now + 1.0 / (self._before * _KEPT)
        self._restart(now)

    def _set(self, now: float, rate: float) -> None:
        self._before = max(rate, self._floor / _KEPT)
        self._try_guess(now)

    def _try_guess(self, now: float) -> None:
        """Begin to try the present guess, if the rate is one."""
        if self._guessed < math.inf:
            self._guessed, self._tried = now, 0

    def hold(self, now: float, seconds: float, began: float, *, provisional: bool) -> None:
        """
        Send nothing for as long as the provider asks.

        Args:
            now: The time.
            seconds: The wait that the provider asks for.
            began: When the refused call began.
            provisional: Whether nothing else is known of the provider, so that pace and wait end with the first call
                that it accepts.
        """
        self._provisional = provisional
        self._provider_wait.begin(now, seconds, began, probe=not provisional)
        self._restart(max(now, self._provider_wait.ends))

    def caller_held(self, now: float) -> None:
        """Note that a caller has to wait."""
        if self._provisional or now < self._provider_wait.ends:
            self._provider_wait.caller_held(now)

    def answer_due(self, now: float) -> float:
        """Return the seconds until it is known whether the latest probe was accepted; inf without one."""
        seconds = self._provider_wait.probed_at + self.taken_after - now
        return seconds if seconds > 0.0 and now < self.free_at else math.inf

    @property
    def taken_after(self) -> float:
        """Return the seconds after which a call that was not refused must have been accepted."""
        return _LATE * self._refusal_seconds + _LATE_MARGIN

    def refused(self, now: float) -> None:
        """Note a refusal: as long as there are some, a guess is not doubled."""
        self._try_guess(now)

    def refused_after(self, seconds: float) -> None:
        """Learn how long a refusal took."""
        self._refusal_seconds += _LATEST_WEIGHT * (seconds - self._refusal_seconds)

    def taken(self, began: float, now: float) -> None:
        """Note that a call that began then was accepted."""
        if began > self._guessed:
            self._accepted_guess(now)
        if not self._provider_wait.is_refuted_by(began):
            return
        if self._provisional:
            self._provider_wait.ends = self.free_at = now
        elif now < self._provider_wait.ends:
            self._provider_wait.ends = now
            self._restart(now)

    def _accepted_guess(self, now: float) -> None:
        tried_for = now - self._guessed
        if tried_for >= _TRIED_SECONDS and self._tried >= _USED * _KEPT * self._before * tried_for:
            self._set(now, 2.0 * self._before)
            self._next = min(self._next, now + 1.0 / (self._before * _KEPT))
            self._restart(now)

    def _restart(self, when: float) -> None:
        """Let the rate grow from then on."""
        self._cut = when
        self.free_at = when + _FREE_AFTER * self._plateau
