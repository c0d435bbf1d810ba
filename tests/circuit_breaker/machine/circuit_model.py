"""
What a circuit should do, worked out the slow way.

The model knows no eras, no passes and no running counts: it remembers every outcome since the last reset, and finds
each answer by going through the whole list again.
"""

from __future__ import annotations

import math

from resilient_ai import CircuitState
from resilient_ai._circuit_breaker.config import CircuitConfig
from resilient_ai._circuit_breaker.tickets import DEAD, HEAD_START

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
FORCED_OPEN, DISABLED, METRICS_ONLY = CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.METRICS_ONLY


class Call:
    """One admission as the model sees it."""

    def __init__(self, period: object, lease_end: float, *, recorded: bool) -> None:
        self.period = period  # the stretch between two changes of state in which it began
        self.lease_end = lease_end
        self.recorded = recorded


class Model:
    def __init__(self, config: CircuitConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        self.late = self.rejected = self.opened = self.neutral = self.slow = 0
        self.all: list[tuple[float, bool, float]] = []  # (when, good, seconds), since the last reset
        self.heard: list[tuple[float, bool, float, bool]] = []  # late ones too: (when, good, when it began, afresh)
        self.openings = 0  # since the last time it closed
        self.enter(CLOSED)

    def enter(self, state: CircuitState) -> CircuitState:
        self.state = state
        self.period = object()
        self.history: list[tuple[float, str, bool]] = []  # (when, outcome, slow) of this period
        self.probes: list[Call] = []
        self.alone_until = -math.inf
        self.warned = False
        self.until = math.nan
        if state not in (OPEN, HALF_OPEN):
            self.openings = 0
        return state

    # -- what callers do

    def ask(self, now: float) -> tuple[Call | None, CircuitState | None]:
        change = None
        if self.state is OPEN and now >= self.until:
            self.usual = self.p95()
            change = self.enter(HALF_OPEN)
        config = self.config
        lease = max(config.recovery_timeout, config.timeout_seconds or 0)
        call = Call(self.period, now + (lease if lease > 0 else 30), recorded=self.state is not DISABLED)
        if self.state is HALF_OPEN:
            self.probes = [probe for probe in self.probes if probe.lease_end > now]
            if not self.full(now):
                if not self.probes and all(each != "ok" for _, each, _ in self.history) and self.row() >= DEAD:
                    self.alone_until = now + HEAD_START
                self.probes.append(call)
                return call, change
        elif self.state in (CLOSED, DISABLED, METRICS_ONLY):
            return call, change
        self.rejected += 1
        return None, change

    def end(
        self,
        call: Call,
        outcome: str,
        now: float,
        seconds: float,
        wait: float | None = None,
        at_once: bool = False,
        roll: float = 0.0,
    ) -> CircuitState | None:
        """The announced change of state, if any. `wait` and `at_once` belong to failures only."""
        if not call.recorded:
            return None
        late = call.period is not self.period
        if outcome != "neutral":
            afresh = not late and self.state in (CLOSED, METRICS_ONLY) and self.level() == 0
            self.heard.append((now, outcome == "ok", now - seconds, afresh))
        if late:
            self.late += 1
            return None
        if call in self.probes:
            self.probes.remove(call)
        if outcome == "neutral":
            self.neutral += 1
            return None
        good = outcome == "ok"
        limit = self.config.slow_call_seconds
        slow = limit is not None and seconds > limit
        self.slow += slow
        self.all.append((now, good, seconds))
        self.history.append((now, outcome, slow))
        wait, at_once = (None, False) if good else (wait, at_once)
        if self.state is HALF_OPEN:
            self.alone_until = -math.inf
            if not good:
                return self.open(now, wait, roll)
            good_probes = sum(each == "ok" for _, each, _ in self.history)
            return self.enter(CLOSED) if good_probes >= self.config.success_threshold else None
        if good and not slow:
            return None
        due = at_once or self.breached(now)
        if self.state is METRICS_ONLY:
            told, self.warned = due and not self.warned, due
            return METRICS_ONLY if told else None
        return self.open(now, wait, roll) if due else None

    # -- what an operator does

    def force(self, state: CircuitState) -> CircuitState | None:
        same = state is self.state
        if not same or state is CLOSED:
            self.enter(state)
        return None if same else state

    def may_trip(self) -> bool:
        return self.state not in (FORCED_OPEN, DISABLED, METRICS_ONLY)

    def trip(self, now: float, roll: float = 0.0) -> CircuitState | None:
        if self.state is OPEN and now < self.until:
            return None
        if self.state is not CLOSED:
            self.openings -= 1  # an operator's opening does not lengthen the period
        self.heard = []
        return self.open(now, None, roll)

    # -- what can be read

    def level(self) -> int:
        level = 0
        for _, outcome, _ in self.history:
            level = level + 1 if outcome == "fail" else max(0, level - 1)
        return level

    def row(self) -> int:
        """Failures since a call was answered that had begun after the first of them."""
        row: list[float] = []
        for when, good, began, afresh in self.heard:
            if not good:
                row = [when] if afresh else [*row, when]
            elif row and began >= row[0]:
                row = []
        return len(row)

    def window(self, now: float) -> list[tuple[float, str, bool]]:
        config = self.config
        if config.failure_rate_threshold is None and config.slow_call_seconds is None:
            return []
        if config.window_calls is not None:
            return self.history[-config.window_calls :]
        return [each for each in self.history if now - each[0] < config.window_seconds]

    def breached(self, now: float) -> bool:
        config, window = self.config, self.window(now)
        if config.failure_threshold is not None and self.level() >= config.failure_threshold:
            return True
        if not window or len(window) < min(config.minimum_calls, config.window_calls or 10**9):
            return False
        failures = sum(outcome == "fail" for _, outcome, _ in window)
        slow = sum(each for _, _, each in window)
        rate, slow_rate = config.failure_rate_threshold, config.slow_call_rate_threshold
        return (rate is not None and failures / len(window) >= rate) or (
            config.slow_call_seconds is not None and slow / len(window) >= slow_rate
        )

    def open(self, now: float, wait: float | None, roll: float) -> CircuitState:
        config, most = self.config, self.config.max_recovery_timeout
        wait = 0.0 if wait is None or wait == math.inf else wait  # "never" is no time to come back at
        openings = self.openings
        period = config.recovery_timeout
        if most is not None:
            period = min(period * 2**openings, most)
        low = max(period, wait)
        high = low * (1 + config.recovery_jitter)
        if most is not None and high > most:
            high, low = most, most / (1 + config.recovery_jitter)
            if wait <= most:
                low = max(low, wait)
        self.enter(OPEN)
        self.until = now + low + (high - low) * roll
        self.openings = openings + 1
        self.opened += 1
        return OPEN

    def p95(self) -> float | None:
        seconds = sorted([seconds for _, good, seconds in self.all if good][-100:])
        return seconds[math.ceil(0.95 * len(seconds)) - 1] if seconds else None

    def recent(self, now: float) -> tuple[int, int]:
        latest = sorted((when, good) for when, good, _ in self.all)[-100:]
        fresh = [good for when, good in latest if now - when <= 300]
        return len(fresh), sum(fresh)

    def retry_after(self, now: float) -> float | None:
        if self.state is OPEN:
            return max(0.0, self.until - now)
        if self.state is FORCED_OPEN:
            return None
        if self.state is HALF_OPEN and self.full(now):
            if len(self.probes) < self.most_probes:
                return max(0.0, self.alone_until - now)
            lease = min(probe.lease_end for probe in self.probes) - now
            return max(0.0, lease if self.usual is None else min(lease, self.usual))
        return 0.0

    @property
    def most_probes(self) -> int:
        return self.config.half_open_max_calls or self.config.success_threshold

    def full(self, now: float) -> bool:
        return len(self.probes) >= self.most_probes or (bool(self.probes) and now < self.alone_until)
