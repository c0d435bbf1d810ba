"""What a spend limit decides: whether a call may be made, and what there is to tell of an answer. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from .hour import SlidingHour, Unit

if TYPE_CHECKING:
    from .config import SpendConfig

Missing = Literal["usage", "price"]

_MOST_MODELS = 50  # whose missing price is told, each once


class Refusal(NamedTuple):
    """Why a call is not made; `first` since the last one that was."""

    unit: Unit
    spent: float
    limit: float
    retry_after: float
    first: bool


class Warned(NamedTuple):
    """So much is spent that somebody should look."""

    unit: Unit
    spent: float
    limit: float


class Unknown(NamedTuple):
    """What an answer cost is not known, or not all of it."""

    model: str | None
    missing: Missing


class SpendState:
    """
    The hour of one spend limit. Not thread-safe: its handle has the lock.

    Attributes:
        is_open: Whether a call would be let through, as far as one look tells: sums only fall with time.
        refused: Callers turned away.
        without_usage: Answers whose tokens nobody told, or not all of them.
        without_price: Answers with tokens and no price, where money is limited.
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
        """Nothing spent, nothing counted."""
        self._hours = {unit: (limit, SlidingHour()) for unit, limit in _limits(self._config).items()}
        self._warned: set[Unit] = set()
        self._told: set[Unknown] = set()
        self._stopped, self.is_open = False, True
        self.refused = self.without_usage = self.without_price = 0

    def reconfigure(self, config: SpendConfig) -> None:
        """Go on with other limits. What was spent stays; of what was not limited before, nothing is known."""
        self._config = config
        known = {unit: hour for unit, (_, hour) in self._hours.items()}
        self._hours = {unit: (limit, known.get(unit) or SlidingHour()) for unit, limit in _limits(config).items()}
        self._warned &= self._hours.keys()
        self.is_open = False  # until the next caller has asked

    def admit(self, now: float) -> Refusal | None:
        """Let a call through, or say why not: of two limits the one that holds it up for longer."""
        found = self.reached(now)
        if found is None:
            self._stopped, self.is_open = False, True
            return None
        first, self._stopped = not self._stopped, True
        self.refused += 1
        return found._replace(first=first)

    def reached(self, now: float) -> Refusal | None:
        """Why a call would be refused; nothing is counted."""
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
            tokens: Those that it read and wrote; None where nobody said.
            cost: USD; None where nobody knows.
            model: That gave it.
            now: The time.
            whole: Whether the tokens are all of its tokens.

        Returns:
            What there is to tell.
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
        """USD or tokens of the last hour; None where that is not limited."""
        return self._hours[unit][1].spent(now) if unit in self._hours else None


def _limits(config: SpendConfig) -> dict[Unit, float]:
    limits: dict[Unit, float | None] = {"usd": config.usd_per_hour, "tokens": config.tokens_per_hour}
    return {unit: limit for unit, limit in limits.items() if limit is not None}
