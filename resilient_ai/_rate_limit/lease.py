"""
One worker's lease of a quota that a fleet shares. Pure; `now` is passed in.

The fleet's server keeps the quota itself. A worker keeps units in stock for about half a second of its own demand, so
that most calls need not wait; the stock is filled in the background. Callers that find no unit queue up, and the server
promises them units that are not there yet, with the time to wait. Small quotas and workers with few calls keep no
stock: many small stocks would strand seconds of the quota. Unused units are given back.

Without the server, a worker goes on with the part of the quota that it was granted lately, or an equal part. It raises
the part slowly while callers wait, and lowers it after a refusal; it never takes more than the whole quota. An unused
part shrinks slowly: other workers may be busy, whose parts grow, and all parts should add up to about the whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resilient_ai._core.clock import NEVER
from resilient_ai._core.leasing import Ask, Numbers, Units

from .demand import Demand
from .supply import Supply

if TYPE_CHECKING:
    from resilient_ai._core.leasing import Grant

    from .quota import Quota

_AHEAD = 0.5  # seconds of its own demand that a worker keeps in stock
_FEW, _SMALL = 2.0, 20.0  # calls a second below which a worker's demand is low, and a quota small
_SELDOM = 0.1  # calls a second of a worker that keeps no stock at all
_HORIZON, _LONGEST_HORIZON, _HORIZON_CALLS = 0.5, 3.0, 10.0  # seconds promised ahead; more if that is only a few calls
_LATE = 0.25  # seconds without an answer after which queued callers no longer wait for the server
_SOONEST, _ASK_AGAIN = 0.02, 0.5  # least and most seconds before a question that brought no units is repeated
_LOOK_AGAIN = 0.05  # seconds between two checks of the first waiter
_IDLE, _IDLE_FEW = 2.0, 0.5  # seconds without a call after which the stock goes back
_VOID = 10.0  # seconds in which this process did not run at all, after which its stock is void
_CAREFUL, _MORE, _LESS = 0.9, 0.05, 0.7  # factor of the part granted lately; growth a second; factor after a refusal
_UNUSED, _ROOM = 0.2, 1.2  # what an unused part loses a second, down to so many times the use
_QUIET = 3.0  # seconds after a refusal in which the part does not grow
_ALONE_BURST = 1.0  # seconds of its part that a worker alone may send at once
_SAME_AGAIN = 3.0  # seconds after which a worker that is alone again has a new part
_REFUSED = 10.0  # seconds without the server after it refused a question
_STARVED, _WITHOUT = 59.0, 600.0  # after so many seconds with nothing granted, do without the server for so many
_OLD = 2.0  # seconds after which a refusal whose wait is over is not reported to the server


class Lease:
    """
    The units that a quota has leased from its fleet.

    Args:
        quota: The quota whose buckets are filled.
        workers: Number of workers that share it, this one included.
        now: Monotonic seconds.

    Attributes:
        workers: Number of workers that share it, this one included.
        part: This worker's part of the quota, 0 to 1, while the server cannot be asked; None while it can.
        few_requests: Level of the request bucket below which more is asked for in the background.
        few_tokens: The same for the token bucket.
    """

    __slots__ = (
        "_again_at",
        "_asked",
        "_demand",
        "_hit_at",
        "_hit_told",
        "_hit_until",
        "_latest_part",
        "_left",
        "_own_pause",
        "_quota",
        "_reached",
        "_refused_at",
        "_share",
        "_since",
        "_spent",
        "_spent_at",
        "_starved",
        "_went_at",
        "_without_until",
        "few_requests",
        "few_tokens",
        "part",
        "workers",
    )  # fmt: skip

    def __init__(self, quota: Quota, workers: int, now: float) -> None:
        self._quota = quota
        self.workers = workers
        self._demand = Demand(now)
        self._reached = True  # whether the server can be asked
        self._asked: Ask | None = None  # the question that has not been answered yet
        self._since: float | None = None  # when queued callers began to wait for an answer
        self._again_at = self._without_until = NEVER
        self._starved: float | None = None  # when a question for queued callers was first answered with no units
        self._went_at, self._latest_part = NEVER, 0.0  # when this worker last lost the server, and its part then
        self._hit_at = self._hit_told = self._hit_until = self._refused_at = self._own_pause = NEVER
        self._spent, self._spent_at = [0.0, 0.0], now  # units used without the server, fading over the burst time
        self._left: list[tuple[float, float] | None] = [None, None]  # what the provider said is left, and when
        self._share = 1.0
        self.part: float | None = None
        self.few_requests = self.few_tokens = -math.inf
        for bucket in quota.buckets():
            bucket.level = min(bucket.level, 0.0)  # the burst belongs to the whole fleet
        self.renew()

    # -- the quota's numbers

    @property
    def _calls_a_second(self) -> float:
        """Calls a second that the whole quota allows."""
        requests, tokens, mean = self._quota.requests, self._quota.tokens, self._demand.mean
        rate = math.inf if requests is None else requests.per_minute / 60
        if tokens is not None:
            rate = min(rate, tokens.per_minute / 60 / max(mean, 1.0))
        return rate

    def _numbers(self) -> Numbers:
        requests, tokens = self._quota.requests, self._quota.tokens
        return Numbers(
            None if requests is None else requests.per_minute,
            None if tokens is None else tokens.per_minute,
            self._quota.burst,
            max(_HORIZON, min(_LONGEST_HORIZON, _HORIZON_CALLS / self._calls_a_second)),
        )

    def renew(self) -> None:
        """Apply the quota's present limits to the buckets, which the server fills, or time while it cannot be asked."""
        quota, part = self._quota, self.part
        if part is not None:
            for bucket in quota.buckets():
                bucket.take_back(part, _ALONE_BURST)
            return
        whole = self._calls_a_second
        calls = min(whole, max(self._demand.granted, whole / self.workers))
        for limited, each in ((quota.requests, 1.0), (quota.tokens, max(self._demand.mean, 1.0))):
            if limited is not None:
                limited.supply = supply = limited.supply or Supply()
                supply.set_rate(limited.per_minute / 60, quota.burst, calls * each)

    # -- the server comes and goes

    def reached(self, workers: int) -> None:
        """Note that the server can be asked; its first answer ends the time without it."""
        self._reached, self.workers = True, max(1, workers)

    def lost(self, now: float) -> None:
        """Note that the server cannot be asked; units given back with the latest question are lost."""
        self._reached, self._asked = False, None
        if self._without_until <= now + _REFUSED:  # a server that comes back may not refuse any more
            self._without_until = NEVER
        self._go_alone(now)

    def _go_alone(self, now: float) -> None:
        self._since = None
        if self.part is not None:
            return
        part = 1 / self.workers
        if now >= self._without_until:
            part = _CAREFUL * max(part, min(1.0, self._demand.granted / self._calls_a_second))
            if now - self._went_at < _SAME_AGAIN:
                part = min(part, self._latest_part)
        self._went_at = now
        self.few_requests = self.few_tokens = -math.inf
        self._set_part(part)

    def _set_part(self, part: float) -> None:
        self.part = self._latest_part = part
        self.renew()

    def pass_time(self, now: float, seconds: float) -> None:
        """Take in that so many seconds have passed."""
        waiting = len(self._quota.queue) > 0
        if seconds > _VOID:
            for bucket in self._quota.buckets():
                bucket.level = min(bucket.level, 0.0)
        if self.part is None:
            if waiting and self._since is not None and now - self._since > _LATE:
                self._go_alone(now)
        elif now >= self._without_until:
            part = self._adapted(self.part, now, min(seconds, 1.0), waiting=waiting)
            if part != self.part:
                self._set_part(part)

    def _adapted(self, part: float, now: float, seconds: float, *, waiting: bool) -> float:
        """The new part: larger if callers wait and nothing was refused lately, smaller if it is not used."""
        if waiting:
            return part if now - self._refused_at <= _QUIET else min(1.0, part * math.pow(1 + _MORE, seconds))
        used = max(_CAREFUL / self.workers, _ROOM * self._demand.rate(now) / self._calls_a_second)
        return min(part, max(used, part * math.pow(1 - _UNUSED, seconds)))

    # -- what happens to calls

    def came(self) -> None:
        """Count a caller, served or not."""
        self._demand.calls += 1

    def took(self, tokens: float, now: float) -> None:
        """Count a call that was let through."""
        self._demand.sent += 1
        self._demand.tokens += tokens
        if self.part is not None:
            self._fade(now)
            self._spent[0] += 1
            self._spent[1] += tokens

    def took_quickly(self, calls: int) -> None:
        """Count calls that were let through on the quick path; they took no tokens."""
        self._demand.calls += calls
        self._demand.sent += calls

    def _fade(self, now: float) -> None:
        fading = math.exp(-max(0.0, now - self._spent_at) / self._quota.burst)
        self._spent[0] *= fading
        self._spent[1] *= fading
        self._spent_at = now

    def refused(self, pause: float, now: float) -> None:
        """Take in that the provider has refused a call, and asks to wait."""
        self._own_pause = max(self._own_pause, now + pause)
        if self.part is None:
            self._hit_at, self._hit_until = now, max(self._hit_until, now + pause)
        elif now - self._refused_at >= 1:  # only one cut a second: one burst of refusals is one piece of news
            self._refused_at = now
            self._set_part(max(self.part * _LESS, 0.01 / self.workers))

    def told(self, which: int, left: float, share: float, now: float) -> None:
        """Take in how many requests (0) or tokens (1) the provider has left, and the share of the rate that follows."""
        known = self._left[which]
        if known is None or left < known[0]:
            self._left[which] = left, now
        self._share = min(self._share, share)

    # -- queued callers

    def wants(self, now: float) -> bool:
        """Whether to ask the server for the queued callers; True once for each question."""
        if self.part is not None or self._since is not None or not len(self._quota.queue):
            return False
        if now < max(self._again_at, self._quota.paused_until) or self._due(now) is not None:
            return False
        self._since = now
        return True

    def is_low(self) -> bool:
        """Whether to fill the stock in the background."""
        requests, tokens = self._quota.requests, self._quota.tokens
        return self._asked is None and (
            (requests is not None and requests.level < self.few_requests)
            or (tokens is not None and tokens.level < self.few_tokens)
        )

    def look_again(self, now: float) -> float:
        """Seconds until the first waiter may be served, or has to ask again."""
        if (due := self._due(now)) is not None:
            return due - now
        if self._since is not None:
            return max(0.0, self._since + _LATE - now) + 1e-3
        return max(self._again_at - now, self._quota.paused_until - now, _LOOK_AGAIN)

    def _due(self, now: float) -> float | None:
        """When promised units may be used, in monotonic seconds; None without a promise."""
        due = min((bucket.supply.due for bucket in self._quota.buckets() if bucket.supply is not None), default=0.0)
        return due if now < due < math.inf else None

    # -- questions and answers

    def ask(self, now: float) -> Ask | None:
        """The question to ask now; None: there is nothing to ask, or the latest question has not been answered."""
        if self._asked is not None or not self._reached or now < self._without_until:
            return None
        quota = self._quota
        calls, tokens = self._stock_wanted(now)
        back = self._surplus(calls, tokens)
        queued, first, ahead, patience = Units(), Units(), Units(), 0.0
        if self._due(now) is None and now >= quota.paused_until:
            queued, first, patience = self._for_queue(back, now)
            ahead = self._for_stock(calls, tokens, back, waiting=queued != Units())
        if queued == Units():
            self._since = None
        elif self._since is None:
            self._since = now
        pause, self._hit_told = self._news_of_refusal(now), self._hit_at
        if self.part is None and pause is None and queued == first == ahead == back == Units():
            self.few_requests = self.few_tokens = -math.inf  # until `_stock_wanted` sets them again
            return None
        self._fade(now)
        ask = Ask(
            self._numbers(),
            patience,
            queued, first, ahead, back, Units(*(math.ceil(each) for each in self._spent)),
            self._left_now(now), self._share, pause, self._demand.rate(now), self.workers,
        )  # fmt: skip
        for bucket, units in ((quota.requests, back.requests), (quota.tokens, back.tokens)):
            if bucket is not None:
                bucket.level -= units
        self._left = [None, None]
        self._asked, self._share = ask, 1.0
        return ask

    def _stock_wanted(self, now: float) -> tuple[float, float]:
        """Calls that the stock should cover, and their tokens."""
        rate, whole = self._demand.rate(now), self._calls_a_second
        idle = now - self._demand.used_at > (_IDLE if rate >= _FEW else _IDLE_FEW)
        calls = min(rate, whole) * _AHEAD
        if whole < _SMALL or rate < _SELDOM or (idle and not len(self._quota.queue)):
            calls = 0.0
        elif calls < 1:  # one call in stock for each worker strands at most `_AHEAD` seconds of the quota
            calls = 1.0 if whole * _AHEAD >= self.workers else 0.0
        tokens = calls * self._demand.mean
        self.few_requests, self.few_tokens = (calls / 2, tokens / 2) if calls else (-math.inf, -math.inf)
        if self.part is not None:
            self.few_requests = self.few_tokens = -math.inf
        return calls, tokens

    def _surplus(self, calls: float, tokens: float) -> Units:
        """Units to give back; negative tokens if calls took more than they had leased."""
        quota, levels = self._quota, self._levels()
        if len(quota.queue) or self.part is not None:
            return Units()
        if not calls:
            return Units(max(0, int(levels[0])), int(levels[1]))
        surplus = levels[0] - calls if levels[0] > 2 * calls + 1 else 0.0
        mean = self._demand.mean
        surplus_tokens = levels[1] - tokens - mean if levels[1] > 2 * tokens + mean else 0.0
        return Units(int(surplus), int(surplus_tokens))

    def _levels(self) -> tuple[float, float]:
        requests, tokens = self._quota.requests, self._quota.tokens
        return 0.0 if requests is None else requests.level, 0.0 if tokens is None else tokens.level

    def _for_queue(self, back: Units, now: float) -> tuple[Units, Units, float]:
        """Units for the callers to be served within the horizon, units for the first one, and the longest patience."""
        queue = self._quota.queue
        if (first := queue.first) is None:
            return Units(), Units(), 0.0
        most = max(1.0, self._calls_a_second * _HORIZON)
        calls, tokens, ends = 0, 0.0, now
        for waiter in queue:
            calls, tokens, ends = calls + 1, tokens + waiter.tokens, max(ends, waiter.ends)
            if calls >= most:
                break
        # A caller that leaves before a promise is due leaves the units to the next, so the longest patience counts.
        return self._missing(calls, tokens, back), self._missing(1, first.tokens, back), ends - now

    def _missing(self, calls: float, tokens: float, back: Units) -> Units:
        levels = self._levels()
        return Units(
            0 if self._quota.requests is None else max(0, math.ceil(calls - levels[0] + back.requests)),
            0 if self._quota.tokens is None else max(0, math.ceil(tokens - levels[1] + back.tokens)),
        )

    def _for_stock(self, calls: float, tokens: float, back: Units, *, waiting: bool) -> Units:
        if not calls or not (waiting or self.is_low()):
            return Units()
        queue = self._quota.queue
        both = self._missing(calls + len(queue), tokens + queue.tokens, back)
        now = self._missing(len(queue), queue.tokens, back)
        return Units(both.requests - now.requests, both.tokens - now.tokens)

    def _news_of_refusal(self, now: float) -> float | None:
        if self._hit_at == NEVER or now > max(self._hit_until, self._hit_at + _OLD):
            return None
        return max(0.0, self._hit_until - now)

    def _left_now(self, now: float) -> tuple[float | None, float | None]:
        requests, tokens = (
            None if bucket is None or said is None else said[0] + (now - said[1]) * bucket.per_minute / 60
            for bucket, said in zip((self._quota.requests, self._quota.tokens), self._left, strict=True)
        )
        return requests, tokens

    def answered(self, grant: Grant | None, now: float) -> None:
        """Take in the answer to the latest question; None: it was refused, so do without the server for a while."""
        asked, self._asked, self._since = self._asked, None, None
        if asked is None:
            return
        if grant is None:
            self._go_alone(now)
            self._without_until = now + _REFUSED
            return
        if asked.pause is not None and self._hit_at == self._hit_told:
            self._hit_at = self._hit_until = NEVER
        self._spent = [0.0, 0.0]
        self.part, mean = None, self._demand.mean
        calls = grant.units.requests if self._quota.requests is not None else grant.units.tokens / (mean or 1.0)
        self._demand.was_granted(calls, now)
        self.renew()
        self._quota.factor = grant.factor
        if grant.pause > 0:
            self._quota.paused_until = max(self._quota.paused_until, now + grant.pause)
        for bucket, units, free in zip(
            (self._quota.requests, self._quota.tokens), grant.units, grant.free, strict=True
        ):
            if bucket is not None and bucket.supply is not None:
                bucket.supply.told(free, now)
                if grant.wait > 0 and units:
                    bucket.supply.promise(units, now + grant.wait)
                else:
                    bucket.level += units
        self._after(asked, grant, now)

    def _after(self, asked: Ask, grant: Grant, now: float) -> None:
        if grant.units != Units():
            self._again_at, self._starved = NEVER, None
            return
        if asked.ahead != Units():  # the server has no units left; do not ask again before the next `_stock_wanted`
            self.few_requests = self.few_tokens = -math.inf
        if asked.queued == Units():
            self._starved = None
            return
        self._again_at = now + min(max(grant.wait, _SOONEST), _ASK_AGAIN)
        if self._starved is None:
            self._starved = now
        elif now - self._starved > _STARVED:  # the server's data may have been damaged by another writer
            self._starved, self._without_until = None, now + _WITHOUT
            self._quota.paused_until = min(self._quota.paused_until, self._own_pause)
            self._go_alone(now)

    def give_back(self) -> Ask | None:
        """The question that gives the stock back when this worker leaves; None: there is nothing to give back."""
        if self.part is not None or not self._reached:
            return None
        levels = self._levels()
        back = Units(max(0, int(levels[0])), int(levels[1]))
        for bucket, units in ((self._quota.requests, back.requests), (self._quota.tokens, back.tokens)):
            if bucket is not None:
                bucket.level -= units
        return Ask(self._numbers(), back=back) if back != Units() else None
