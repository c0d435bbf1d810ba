"""Which of the available endpoints a call goes to. Random numbers come from the registry's rng."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from resilient_ai._core.kinds import kind_of
from resilient_ai._core.tasks import running_loop

if TYPE_CHECKING:
    import random

    from resilient_ai._core.clock import Clock

    from .candidate import Candidate

Strategy = Literal["round_robin", "priority", "weighted", "least_latency"]


class Chooser(ABC):
    """The strategy of one failover."""

    def preselect(self, candidates: tuple[Candidate, ...]) -> Iterator[Candidate] | None:  # noqa: ARG002
        """
        Choices among all endpoints, one for each call, made without checking which endpoints are up.

        A choice is dropped if that endpoint is not up. None if the strategy has to know which endpoints are up.
        """
        return None

    @abstractmethod
    def select(self, available: Sequence[Candidate], now: float, failed: Candidate | None) -> Candidate:
        """
        Choose one of the available endpoints.

        Args:
            available: At least one endpoint.
            now: Monotonic seconds.
            failed: The endpoint that this call asked before; None for its first choice.
        """


class RoundRobin(Chooser):
    """Each in turn."""

    def __init__(self, rng: random.Random, clock: Clock) -> None:  # noqa: ARG002
        # Not shared with `preselect`, so that the turns of resting endpoints are spread evenly.
        self._turn = itertools.count()

    def preselect(self, candidates: tuple[Candidate, ...]) -> Iterator[Candidate]:
        return itertools.cycle(candidates)

    def select(self, available: Sequence[Candidate], now: float, failed: Candidate | None) -> Candidate:  # noqa: ARG002
        if failed is None:
            return available[next(self._turn) % len(available)]
        return next((each for each in available if each.index > failed.index), available[0])


class Priority(Chooser):
    """The first available endpoint, in the order given."""

    def __init__(self, rng: random.Random, clock: Clock) -> None: ...

    def preselect(self, candidates: tuple[Candidate, ...]) -> Iterator[Candidate]:
        return itertools.repeat(candidates[0])

    def select(self, available: Sequence[Candidate], now: float, failed: Candidate | None) -> Candidate:  # noqa: ARG002
        return available[0]


class Weighted(Chooser):
    """At random, in proportion to the weights; weight 0 only if there is nothing else."""

    def __init__(self, rng: random.Random, clock: Clock) -> None:  # noqa: ARG002
        self._rng = rng

    def preselect(self, candidates: tuple[Candidate, ...]) -> Iterator[Candidate]:
        return iter(lambda: self._draw(candidates), None)

    def select(self, available: Sequence[Candidate], now: float, failed: Candidate | None) -> Candidate:  # noqa: ARG002
        return self._draw(available)

    def _draw(self, candidates: Sequence[Candidate]) -> Candidate:
        mark = self._rng.random() * sum(each.weight for each in candidates)
        for each in candidates:
            mark -= each.weight
            if mark < 0:
                return each
        return candidates[-1] if candidates[-1].weight else max(candidates, key=lambda each: each.weight)


class LeastLatency(Chooser):
    """
    The better of two random endpoints, by expected latency times calls in flight.

    The best of all endpoints would get every call until its next measurement; the better of two random ones does not:
    https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf
    """

    def __init__(self, rng: random.Random, clock: Clock) -> None:
        self._rng = rng
        self._clock = clock

    def preselect(self, candidates: tuple[Candidate, ...]) -> Iterator[Candidate]:
        return iter(lambda: self._better_of_two(candidates, self._clock.now()), None)

    def select(self, available: Sequence[Candidate], now: float, failed: Candidate | None) -> Candidate:  # noqa: ARG002
        return self._better_of_two(available, now)

    def _better_of_two(self, candidates: Sequence[Candidate], now: float) -> Candidate:
        if len(candidates) == 1:
            candidates[0].shared.note_event_loop(running_loop())
            return candidates[0]
        random, number = self._rng.random, len(candidates)
        one = int(random() * number)
        a, b = candidates[one], candidates[(one + 1 + int(random() * (number - 1))) % number]
        loop = running_loop()
        a.shared.note_event_loop(loop)  # so that calls of closed loops do not count as in flight
        b.shared.note_event_loop(loop)
        score_a, score_b = a.health.score(now), b.health.score(now)
        if score_a == score_b:
            return a if a.health.in_flight <= b.health.in_flight else b
        return a if score_a < score_b else b


class UsersChoice(Chooser):
    """The choice of the user's function."""

    def __init__(self, strategy: Callable[[Sequence[Any]], Any]) -> None:
        self._strategy = strategy

    def select(self, available: Sequence[Candidate], now: float, failed: Candidate | None) -> Candidate:  # noqa: ARG002
        chosen = self._strategy([each.endpoint for each in available])
        for each in available:
            if each.endpoint is chosen:
                return each
        names = ", ".join(each.name for each in available)
        raise ValueError(f"strategy returned {kind_of(chosen)} that is not one of the endpoints it was given: {names}")


STRATEGIES: dict[str, Callable[[random.Random, Clock], Chooser]] = {
    "round_robin": RoundRobin,
    "priority": Priority,
    "weighted": Weighted,
    "least_latency": LeastLatency,
}


def chooser_of(strategy: Any, rng: random.Random, clock: Clock) -> Chooser:
    """The strategy of a failover, given by name or as a function."""
    return UsersChoice(strategy) if callable(strategy) else STRATEGIES[strategy](rng, clock)
