"""How fast to send after a rate limit: at the rate that was being accepted, and then carefully faster."""

from __future__ import annotations

import math
from collections import deque

_KEPT = 0.7  # share of the rate that is kept after a cut, as in CUBIC (RFC 9438, section 4.6)
_PLATEAU_SECONDS = 5.0  # until the rate is back where it was; for as long again it is hardly exceeded
_FREE_AFTER_SECONDS = 3 * _PLATEAU_SECONDS  # by then the curve is at 3.4 times the old rate
_MEMORY_SECONDS = 10  # of sends, from which the accepted rate is read


class Pace:
    """
    The rate of sending, unbounded until the first rate limit.

    The curve is CUBIC's, scaled to the rate instead of to packets: down to 0.7 of what was accepted, quickly back
    near it, slowly past it, then away. AWS SDKs throttle themselves by it in their adaptive retry mode.
    """

    __slots__ = ("_before", "_cut", "_marks", "_next", "_resume", "accepted", "free_at", "mark_at")

    def __init__(self) -> None:
        self.accepted = 0  # calls that went out and were not refused for their rate
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MEMORY_SECONDS + 1)  # how many there were when
        self.mark_at = -math.inf  # when the next mark is due
        self._before = math.inf  # the rate that was too fast
        self._cut = -math.inf  # from when on the rate grows again
        self._next = -math.inf  # no send before this
        self._resume = -math.inf  # nor before this: the provider's own wait
        self.free_at = -math.inf  # from here on there is nothing to wait for

    def rate(self, now: float) -> float | None:
        """Calls a second that may be sent; None: as many as like."""
        since = max(0.0, now - self._cut)
        if since >= _FREE_AFTER_SECONDS:
            return None
        bend = since / _PLATEAU_SECONDS - 1.0
        return self._before * (1.0 + (1.0 - _KEPT) * bend**3)

    def wait(self, now: float, ahead: int = 0) -> float:
        """Seconds until the next call may be sent, or one with so many others ahead of it."""
        rate = self.rate(now) if self._before < math.inf else None
        if rate is None:
            return max(0.0, self._resume - now)
        return max(0.0, self._next - now, self._resume - now) + ahead / rate

    def sent(self, now: float) -> None:
        """A call goes out."""
        if now >= self.mark_at:
            self._marks.append((now, self.accepted))
            self.mark_at = now + 1.0
        self.accepted += 1
        if self._before < math.inf and (rate := self.rate(now)) is not None:
            self._next = max(now, self._next) + 1.0 / rate

    def not_sent(self) -> None:
        """A call that was to go out has not been taken."""
        self.accepted -= 1

    def refused(self, now: float, retry_after: float | None, *, news: bool) -> bool:
        """
        The provider said that this is too fast.

        Args:
            now: The moment.
            retry_after: Seconds that the provider asks to wait.
            news: Whether the call went out since the last cut; an older one says nothing about the present rate.

        Returns:
            Whether the rate was cut.
        """
        self.not_sent()
        self._resume = max(self._resume, now + (retry_after or 0.0))
        if news:
            paced, accepted = self.rate(now), self._accepted_rate(now)
            fast = accepted if paced is None else min(paced, accepted)
            # Too fast already below the last mark: others took a share, so aim lower at once (RFC 9438, 4.7).
            fell = paced is not None and fast < self._before
            self._before = fast * (1.0 + _KEPT) / 2.0 if fell else fast
            self._next = now + 1.0 / (self._before * _KEPT)
        self._cut = max(now if news else self._cut, self._resume)
        self.free_at = self._cut + _FREE_AFTER_SECONDS
        return news

    def _accepted_rate(self, now: float) -> float:
        when, count = next((mark for mark in self._marks if now - mark[0] <= _MEMORY_SECONDS), (now, self.accepted))
        return max(self.accepted - count, 1) / max(now - when, 1.0)
