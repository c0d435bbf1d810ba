"""What the script of `resilient_ai.redis` does with a quota, in virtual time; a test holds one to the other."""

from __future__ import annotations

import math

from resilient_ai._core.leasing import Ask, Grant, Units

LONGEST_PAUSE = 60.0
AWAY, RETURNING = 2.0, 10.0


class QuotaServer:
    """
    The server's side of one quota.

    Attributes:
        levels: Requests and tokens; below 0, promised.
        created: Of both, all that has come into being: by time, and by debts that were forgotten.
    """

    def __init__(self) -> None:
        self.levels, self.created = [0.0, 0.0], [0.0, 0.0]
        self.lose_data()

    def lose_data(self) -> None:
        for which, level in enumerate(self.levels):
            self.created[which] += max(0.0, -level)
        self.levels = [0.0, 0.0]
        self.at: float | None = None
        self.back = 0.0  # when the fleet came back after it had been alone
        self.factor = self.top = 1.0
        self.demand = 0.0  # calls a second that come to a worker that asks, on average
        self.pause = self.cut = -math.inf

    def take(self, ask: Ask, now: float) -> Grant:
        seconds = 0.0 if self.at is None else now - self.at
        if self.at is not None:
            seconds -= max(0.0, min(now, self.pause) - self.at)
            if ask.alone != Units() and now - self.at > AWAY:
                self.back = now
        else:
            self.back = now
        self.at = now
        self._grow(seconds)
        self._refused(ask, now)
        rates = self._refill(ask, seconds, now)
        resting = max(0.0, self.pause - now)
        granted, wait, served = self._for_queue(ask, rates, resting)
        if served and resting == 0:
            ahead = self._ahead(ask)
            granted = Units(granted.requests + ahead.requests, granted.tokens + ahead.tokens)
        whole = ask.numbers.requests_per_minute, ask.numbers.tokens_per_minute
        self.levels = [level if each else 0.0 for level, each in zip(self.levels, whole, strict=True)]
        free = Units(*(math.floor(each) for each in self.levels))
        return Grant(granted, wait, self.factor, resting, free)

    def _grow(self, seconds: float) -> None:
        if self.factor < 1:
            if self.factor < 0.97 * self.top:
                fast = min(seconds, (0.97 * self.top - self.factor) / 0.01)
                self.factor, seconds = self.factor + fast * 0.01, seconds - fast
            self.factor = min(1.0, self.factor + seconds * 0.002)

    def _refused(self, ask: Ask, now: float) -> None:
        if ask.pause is not None:
            self.pause = max(self.pause, now + min(ask.pause, LONGEST_PAUSE))
            if now - self.cut > 1:
                self.top, self.factor, self.cut = self.factor, max(0.1, self.factor * 0.9), now

    def _refill(self, ask: Ask, seconds: float, now: float) -> list[float]:
        share, rates = min(self.factor, max(0.05, ask.share)), []
        for which, whole in enumerate((ask.numbers.requests_per_minute, ask.numbers.tokens_per_minute)):
            if whole is None:
                self.levels[which] = 1e12
                rates.append(1e15)
                continue
            rate, full = whole / 60 * share, max(1.0, whole / 60 * ask.numbers.burst)
            self.created[which] += seconds * rate
            level = min(self.levels[which] + seconds * rate, full) + ask.back[which]
            if ask.pause is not None:
                level = min(level, 0.0)
            if (left := ask.left[which]) is not None:
                level = min(level, left)
            if ask.alone != Units() and now - self.back < RETURNING:
                level = min(level, 0.0) - ask.alone[which] * min(1.0, (now - self.back) / ask.numbers.burst)
            elif level > 0:
                level = max(0.0, level - ask.alone[which])
            self.created[which] += max(0.0, -whole - level)
            self.levels[which] = max(-whole, min(level, full))
            rates.append(rate)
        return rates

    def _for_queue(self, ask: Ask, rates: list[float], resting: float) -> tuple[Units, float, bool]:
        def until_there(units: Units) -> float:
            missing = ((need - level) / rate for need, level, rate in zip(units, self.levels, rates, strict=True))
            return max(0.0, *missing) + resting

        if ask.queued == Units():
            return Units(), 0.0, True
        part = max(self._there(ask), self._fair(ask, rates))
        units = Units(
            *(max(first, math.floor(each * min(1.0, part))) for each, first in zip(ask.queued, ask.first, strict=True))
        )
        if until_there(units) > ask.patience:
            units = ask.first
        if (wait := until_there(units)) > ask.patience:
            units, wait = Units(), wait - ask.patience + 0.001
        if units != Units():
            wait = until_there(units)
        self.levels = [level - each for level, each in zip(self.levels, units, strict=True)]
        return units, wait, units.requests >= ask.queued.requests and units.tokens >= ask.queued.tokens

    def _there(self, ask: Ask) -> float:
        """Share of the line for which there are units now."""
        return min(max(0.0, level) / need for level, need in zip(self.levels, ask.queued, strict=True) if need)

    def _fair(self, ask: Ask, rates: list[float]) -> float:
        """Share of the line that is promised: of what comes within the horizon, as much as of all callers come here."""
        self.demand = self.demand + 0.05 * (ask.demand - self.demand) if self.demand > 0 else ask.demand
        calls, tokens = ask.queued
        rate = min(rates[0], rates[1] * calls / tokens) if calls and tokens else rates[0 if calls else 1]
        part = rate * ask.numbers.horizon / (calls or tokens) / ask.workers
        return part * ask.demand / self.demand if self.demand > 0 else part

    def _ahead(self, ask: Ask) -> Units:
        wanted = list(zip(self.levels, ask.ahead, strict=True))
        if any(level < 0 or (need and level <= 0) for level, need in wanted):
            return Units()
        part = min([1.0, *(level / need for level, need in wanted if need)])
        units = Units(*(math.floor(need * part) for _, need in wanted))
        self.levels = [level - each for level, each in zip(self.levels, units, strict=True)]
        return units
