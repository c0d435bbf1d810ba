"""The decisions of a spend limit: whether a call may be made, and what to report about an answer. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from .hour import SlidingHour, Unit

if TYPE_CHECKING:
    from .config import SpendConfig

Missing = Literal["usage", "price"]

_MOST_MODELS = 50  # most models whose missing price is reported, each once


class Refusal(NamedTuple):
    """Why a call is refused; `first`: the first refusal since the last call that was let through."""

    unit: Unit
    spent: float
    limit: float
    retry_after: float
    first: bool


class Warned(NamedTuple):
    """The warning share of a limit is reached."""

    unit: Unit
    spent: float
    limit: float


class Unknown(NamedTuple):
    """The cost of an answer is unknown or incomplete."""

    model: str | None
    missing: Missing


class SpendState:
    """
    The hour of one spend limit. Not thread-safe: its handle has the lock.

    Attributes:
        is_open: Whether a call would surely be let through, without a check of the time: sums fall with time.
        refused: Callers that were refused.
        without_usage: Answers whose tokens are unknown or incomplete.
        without_price: Answers with tokens but without a price, if money is limited.
    """

    __slots__ = (
        "_config",
        "_hours",
        "_stopped",
        "_told",
        "_warned",
        "is_open",
        "refused",
        "without_price",
        "without_usage",
    )

    def __init__(self, config: SpendConfig) -> None:
        self._config = config
        self._hours: dict[Unit, tuple[float, SlidingHour]]
        self.clear()

    def clear(self) -> None:
        """Set all sums and counts to zero."""
        self._hours = {unit: (limit, SlidingHour()) for unit, limit in _limits(self._config).items()}
        self._warned: set[Unit] = set()
        self._told: set[Unknown] = set()
        self._stopped, self.is_open = False, True
        self.refused = self.without_usage = self.without_price = 0

    def reconfigure(self, config: SpendConfig) -> None:
        """Use other limits from now on. What was spent stays; a unit that was not limited before starts at zero."""
        self._config = config
        known = {unit: hour for unit, (_, hour) in self._hours.items()}
        self._hours = {unit: (limit, known.get(unit) or SlidingHour()) for unit, limit in _limits(config).items()}
        self._warned &= self._hours.keys()
        self.is_open = False  # until the next caller is checked

    def admit(self, now: float) -> Refusal | None:
        """Let a call through (None), or return the refusal; of two limits, the one with the longer wait."""
        found = self.reached(now)
        if found is None:
            self._stopped, self.is_open = False, True
            return None
        first, self._stopped = not self._stopped, True
        self.refused += 1
        return found._replace(first=first)

    def reached(self, now: float) -> Refusal | None:
        """The refusal that a call would get now, without counting it; None if it would be let through."""
        refusals = [
            Refusal(unit, hour.spent(now), limit, wait, first=False)
            for unit, (limit, hour) in self._hours.items()
            if (wait := hour.wait(limit, now)) > 0
        ]
        return max(refusals, key=lambda each: each.retry_after, default=None)

    def spend(
        self, tokens: int | None, cost: float | None, model: str | None, now: float, *, whole: bool = True
    ) -> list[Warned | Unknown]:
        """
        Count one answer.

        Args:
            tokens: Its input and output tokens; None if unknown.
            cost: USD; None if unknown.
            model: The model; None if unknown.
            now: Monotonic seconds.
            whole: Whether the tokens are complete.

        Returns:
            What there is to report.
        """
        news: list[Warned | Unknown] = []
        if tokens is None or not whole:
            self.without_usage += 1
            news += self._missing(Unknown(model, "usage"))
        if tokens is not None:
            if "usd" in self._hours and cost is None:
                self.without_price += 1
                news += self._missing(Unknown(model, "price"))
            amounts: dict[Unit, float | None] = {"usd": cost, "tokens": tokens}
            for unit, spent in amounts.items():
                if unit in self._hours and spent:
                    news += self._add(unit, spent, now)
        return news

    def _add(self, unit: Unit, spent: float, now: float) -> list[Warned]:
        limit, hour = self._hours[unit]
        if hour.spent(now) < limit * self._config.warn_at:
            self._warned.discard(unit)
        hour.add(spent, now)
        total = hour.spent(now)
        self.is_open &= total < limit
        if total < limit * self._config.warn_at or unit in self._warned:
            return []
        self._warned.add(unit)
        return [Warned(unit, total, limit)]

    def _missing(self, unknown: Unknown) -> list[Unknown]:
        if unknown in self._told or len(self._told) >= _MOST_MODELS:
            return []
        self._told.add(unknown)
        return [unknown]

    def spent(self, unit: Unit, now: float) -> float | None:
        """USD or tokens spent in the last hour; None if that unit is not limited."""
        return self._hours[unit][1].spent(now) if unit in self._hours else None


def _limits(config: SpendConfig) -> dict[Unit, float]:
    limits: dict[Unit, float | None] = {"usd": config.usd_per_hour, "tokens": config.tokens_per_hour}
    return {unit: limit for unit, limit in limits.items() if limit is not None}
