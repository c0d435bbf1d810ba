"""
A known quota of requests and tokens a minute, kept by two buckets and a queue of callers. Pure; `now` is passed in.

In any period, at most as much is sent as the buckets gain in that period plus what they hold: `burst` seconds of the
quota, or one call that needs more than that. The provider may still refuse, because other clients use the quota or
because it counts differently. Then all calls wait as long as it asks, and a smaller share of the limits is used from
then on. The share grows back, fast at first and slowly near the value at which it was cut (as TCP CUBIC does).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from resilient_ai._core.clock import NEVER

from .answer_time import AnswerTime
from .bucket import Bucket
from .queue import WaitQueue

if TYPE_CHECKING:
    from threading import RLock

    from .config import RateLimitConfig
    from .queue import Waiter
    from .told import Left, Told

_LONGEST_WAIT = 60.0  # seconds in the queue for a caller without deadline and without max_wait
_LEAST_WAITING = 1 / 3  # share of a caller's time that may be spent waiting, however short that time is
_SHORTEST = 1e-3  # least seconds between two checks of the first waiter
_CUT = 0.9  # what a refusal leaves of the factor
_CUT_SECONDS = 1.0  # in which further refusals count as the same
_LEAST_FACTOR = 0.1
_NO_NEWS = 0.1  # a pause from another process that ends at most so many seconds later is the same news
_FAST, _NEAR, _SLOW = 0.01, 0.97, 0.002  # growth of the factor a second: up to this share of its value at the cut; then
_USE_SECONDS = 60.0  # time constant of the shown use of the quota


class UnitSource(Protocol):
    """Where a quota's units come from while a fleet shares it; see `Lease` for the methods."""

    part: float | None
    few_requests: float

    def renew(self) -> None: ...
    def pass_time(self, now: float, seconds: float) -> None: ...
    def came(self) -> None: ...
    def took(self, tokens: float, now: float) -> None: ...
    def took_quickly(self, calls: int) -> None: ...
    def told(self, which: int, left: float, share: float, now: float) -> None: ...
    def refused(self, pause: float, now: float) -> None: ...
    def is_low(self) -> bool: ...
    def wants(self, now: float) -> bool: ...
    def look_again(self, now: float) -> float: ...


class Quota:
    """
    The quota of one provider, and the callers that wait for it.

    Attributes:
        requests: The bucket of requests; None if they are not limited.
        tokens: The bucket of tokens; None if they are not limited.
        queue: The waiting callers.
        lease: The source of units while a fleet's server keeps the quota; None: the buckets fill with time.
        factor: Share of the limits that is used; 1 unless the provider has refused calls.
        paused_until: When the wait that the provider asked for ends, in monotonic seconds.
        succeeded: Calls that ended well.
        failed: Calls that ended with an error.
        left: Calls whose callers left before there was an answer.
        refused: Callers that were refused; the gate counts them.
        tokens_used: Tokens of all calls whose usage is known.
    """

    __slots__ = (
        "_at",
        "_config",
        "_cut_at",
        "_quick_level",
        "_quick_until",
        "_top",
        "_use",
        "answer_time",
        "factor",
        "failed",
        "lease",
        "left",
        "paused_until",
        "queue",
        "refused",
        "requests",
        "succeeded",
        "tokens",
        "tokens_used",
    )

    def __init__(self, config: RateLimitConfig, now: float) -> None:
        self._config = config
        self.requests = _bucket(config.requests_per_minute, config)
        self.tokens = _bucket(config.tokens_per_minute, config)
        self.queue = WaitQueue()
        self.lease: UnitSource | None = None
        self.clear(now)

    def clear(self, now: float) -> None:
        """Fill the buckets and forget what was learnt; queued callers stay in the queue."""
        self._at = now
        self._quick_until, self._quick_level = NEVER, 1.0
        for bucket in self.buckets():
            bucket.clear()
        self.factor = self._top = 1.0
        self._cut_at = self.paused_until = NEVER
        self._use = [0.0, 0.0]  # requests and tokens used, fading within a minute
        self.answer_time = AnswerTime()
        self.succeeded = self.failed = self.left = self.refused = 0
        self.tokens_used = 0

    def reconfigure(self, config: RateLimitConfig, now: float) -> None:
        """Use other limits from now on; the buckets keep their units, up to their new size."""
        self.pass_time(now)
        self._config = config
        self.requests = _with_rate(self.requests, config.requests_per_minute, config)
        self.tokens = _with_rate(self.tokens, config.tokens_per_minute, config)
        if self.lease is not None:
            self.lease.renew()

    @property
    def burst(self) -> float:
        """Seconds of the quota that may be sent at once."""
        return self._config.burst

    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets of the numbers that are limited."""
        return tuple(each for each in (self.requests, self.tokens) if each is not None)

    def pass_time(self, now: float) -> None:
        """Fill the buckets up to this moment."""
        self._quick_until = NEVER  # the caller may be about to change something
        seconds = now - self._at
        if seconds <= 0:  # with several threads, `now` may be earlier than the last one
            return
        seconds -= max(0.0, min(now, self.paused_until) - self._at)
        self._at = now
        if (lease := self.lease) is not None:
            lease.pass_time(now, seconds)
        if self.factor < 1 and (lease is None or lease.part is not None):
            self.factor = _grown(self.factor, _NEAR * self._top, seconds)
        if self.requests is not None:
            if taken := self.requests.taken:
                self._use[0] += taken
                if lease is not None:
                    lease.took_quickly(taken)
            self.requests.fill(seconds, now, self.factor)
        if self.tokens is not None:
            self.tokens.fill(seconds, now, self.factor)
        fading = math.exp(-seconds / _USE_SECONDS)
        self._use[0] *= fading
        self._use[1] *= fading

    def keep_alone(self, now: float) -> None:
        """End the sharing: the buckets fill with time again, and begin without units that were not leased."""
        self.pass_time(now)
        self.lease = None
        for bucket in self.buckets():
            bucket.take_back(1.0, self.burst)

    # -- getting through

    def enter_quickly(self, now: float, lock: RLock) -> bool:
        """
        Whether a call that needs no tokens may be sent, after one quick check; False: call `enter`, which knows.

        The bucket is not filled here, so that the clock need not be read for each call.
        """
        bucket = self.requests
        least = self._quick_level
        if now >= self._quick_until or bucket is None or bucket.level < least:
            return False
        with lock:
            if now >= self._quick_until or bucket.level < least:
                return False
            bucket.level -= 1
            bucket.taken += 1
            return True

    def enter(self, tokens: float, now: float) -> bool:
        """Whether a call that needs so many tokens may be sent at once; if so, its units are taken."""
        self.pass_time(now)
        if len(self.queue) or now < self.paused_until or not (self._has(tokens) and self.fits(tokens)):
            return False
        if self.lease is not None:
            self.lease.came()
        self._take(tokens, now)
        lease = self.lease
        if self.tokens is None and self.requests is not None and (lease is None or lease.part is None):
            self._quick_until = now + self.requests.quick
            self._quick_level = 1.0 if lease is None else max(1.0, lease.few_requests)
        return True

    def _has(self, tokens: float) -> bool:
        return (self.requests is None or self.requests.has(1.0)) and (self.tokens is None or self.tokens.has(tokens))

    def _take(self, tokens: float, now: float) -> None:
        if self.requests is not None:
            self.requests.take(1.0)
        if self.tokens is not None:
            self.tokens.take(tokens)
        self._use[0] += 1
        self._use[1] += tokens
        if self.lease is not None:
            self.lease.took(tokens, now)

    def fits(self, tokens: float) -> bool:
        """Whether a call needs no more tokens than a minute's quota."""
        return self.tokens is None or tokens <= self.tokens.per_minute

    def patience(self, tokens: float, now: float, left: float) -> float | None:
        """
        How long a caller may wait in the queue.

        Args:
            tokens: Tokens that its call needs.
            now: Monotonic seconds.
            left: Seconds until the caller's own deadline; inf without one.

        Returns:
            Seconds; None: it would not be served in time, or the queue is full.
        """
        if self.lease is not None:
            self.lease.came()
        if len(self.queue) >= self._config.max_queue_size:
            return None
        longest = self._config.max_wait
        if longest is None:
            longest = _LONGEST_WAIT if left == math.inf else left
        # The deadline must cover the wait and a slow answer.
        longest = min(longest, max(left - self.answer_time.slow, left * _LEAST_WAITING))
        return None if self.wait(tokens, now) > longest else longest

    def wait(self, tokens: float, now: float) -> float:
        """Seconds that a new caller would wait in the queue."""
        self.pass_time(now)
        return self._wait(len(self.queue), self.queue.tokens, tokens, now)

    def _wait(self, calls_ahead: int, tokens_ahead: float, tokens: float, now: float) -> float:
        wait = 0.0
        if self.requests is not None:
            wait = self.requests.wait(calls_ahead, 1.0, now, self.factor)
        if self.tokens is not None:
            wait = max(wait, self.tokens.wait(tokens_ahead, tokens, now, self.factor))
        return max(0.0, self.paused_until - now) + wait  # nothing is gained in a pause

    def turn(self, waiter: Waiter, now: float) -> float | None:
        """
        Ask for the turn of a waiting caller.

        Returns:
            None: the turn has come, and the waiter has left the queue; else seconds after which to ask again.
        """
        if self.queue.first is not waiter:
            return _LONGEST_WAIT  # a waiter that leaves the queue wakes the next
        self.pass_time(now)
        if now >= self.paused_until and self._has(waiter.tokens):
            self.queue.leave(waiter)
            self._take(waiter.tokens, now)
            return None
        if self.lease is not None and self.lease.part is None:
            return max(self.lease.look_again(now), _SHORTEST)
        return max(self._wait(0, 0.0, waiter.tokens, now), _SHORTEST)

    # -- what calls report

    def settle(self, estimated: float, used: float, now: float) -> None:
        """Correct the tokens of a call from the estimate to what it used."""
        self.pass_time(now)
        self.tokens_used += round(used)
        self._use_less(0.0, estimated - used)
        if self.tokens is not None:
            self.tokens.give_back(estimated - used)

    def give_back(self, tokens: float, now: float) -> None:
        """Return the units of a call that was not sent after all."""
        self.pass_time(now)
        self._use_less(1.0, tokens)
        if self.requests is not None:
            self.requests.give_back(1.0)
        if self.tokens is not None:
            self.tokens.give_back(tokens)

    def _use_less(self, requests: float, tokens: float) -> None:
        # What was added when the call began has faded meanwhile, so subtracting all of it must stop at 0.
        self._use = [max(0.0, use - less) for use, less in zip(self._use, (requests, tokens), strict=True)]

    def told(self, said: Told, since: float, now: float) -> None:
        """Take in what the provider said was left when a call was sent."""
        self.pass_time(now)
        for which, (bucket, left) in enumerate(((self.requests, said.requests), (self.tokens, said.tokens))):
            if bucket is not None and left:
                scarcest: Left = min(left, key=lambda each: each.amount)
                still_left, share = bucket.told(scarcest.amount, scarcest.limit, since, now)
                if self.lease is not None:
                    self.lease.told(which, still_left, share, now)

    def pause(self, seconds: float, now: float) -> bool:
        """Pause for so many seconds, because another process was refused; whether that makes the pause longer."""
        self.pass_time(now)
        if now + seconds <= self.paused_until + _NO_NEWS:
            return False
        self.paused_until = now + seconds
        return True

    def too_fast(self, retry_after: float, now: float) -> bool:
        """
        Take in that the provider refused a call because of its rate.

        The units of the call stay spent; otherwise another call would be sent at once.

        Args:
            retry_after: Seconds that the provider asks to wait.
            now: Monotonic seconds.

        Returns:
            Whether the limits were lowered; refusals within one second count once.
        """
        self.pass_time(now)
        self.failed += 1
        self.paused_until = max(self.paused_until, now + retry_after)
        for bucket in self.buckets():
            bucket.level = min(bucket.level, 0.0)
        if self.lease is not None:
            self.lease.refused(retry_after, now)
        if now < self._cut_at + _CUT_SECONDS:
            return False
        self._top, self._cut_at = self.factor, now
        self.factor = max(_LEAST_FACTOR, self.factor * _CUT)
        return True

    # -- shown numbers

    def used_share(self, now: float) -> float:
        """Share of the scarcer limit that was used in about the last minute."""
        self.pass_time(now)
        shares = [
            use / bucket.per_minute
            for use, bucket in zip(self._use, (self.requests, self.tokens), strict=True)
            if bucket is not None
        ]
        return max(shares, default=0.0)


def _bucket(per_minute: float | None, config: RateLimitConfig) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, config.burst)


def _with_rate(bucket: Bucket | None, per_minute: float | None, config: RateLimitConfig) -> Bucket | None:
    if per_minute is None or bucket is None:
        return _bucket(per_minute, config)
    bucket.set_rate(per_minute, config.burst)
    return bucket


def _grown(factor: float, near: float, seconds: float) -> float:
    """The factor after so many seconds; it grows fast up to `near` and slowly from there."""
    if factor < near:
        fast = min(seconds, (near - factor) / _FAST)
        factor, seconds = factor + fast * _FAST, seconds - fast
    return min(1.0, factor + seconds * _SLOW)
