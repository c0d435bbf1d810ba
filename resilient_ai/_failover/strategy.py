"""Which of the available endpoints a call goes to. Chance comes in as the registry's rng."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from resilient_ai._core.checks import check_number

if TYPE_CHECKING:
    import random

    from resilient_ai._core.clock import Clock
    from resilient_ai._core.fast_path import Gate

    from .endpoint import EndpointHandle
    from .health import EndpointHealth, Ticket

Strategy = Literal["round_robin", "priority", "weighted", "least_latency"]
STRATEGIES = ("round_robin", "priority", "weighted", "least_latency")


@dataclass(slots=True, eq=False)
class Lane:
    """One endpoint as one call site uses it."""

    index: int
    endpoint: Any
    name: str
    weight: float
    handle: EndpointHandle
    health: EndpointHealth = field(init=False)
    handed: tuple[Any] = field(init=False)  # goes before the caller's arguments
    call: Any = None  # what lies below the failover, bound for this endpoint
    check: Callable[[Any], Any] | None = None  # its health check; None: a trial call instead
    gate: Gate | None = None  # on a fast path
    behind_gate: Any = None  # the function, likewise

    def __post_init__(self) -> None:
        self.health = self.handle.health
        self.handed = (self.endpoint,)

    def available(self, now: float) -> bool:
        trial = self.check is None
        return self.health.available(now, trial=trial) or (
            self.handle.forgets_lost_calls() and self.health.available(now, trial=trial)
        )

    def admit(self, now: float) -> Ticket | None:
        return self.handle.admit(now, trial=self.check is None)


Quick = Iterator[Lane]
Among = Callable[["Sequence[Lane]", float, "Lane | None"], Lane]


def quick_choice(
    strategy: Strategy | Callable[[Sequence[Any]], Any], lanes: tuple[Lane, ...], rng: random.Random, clock: Clock
) -> Quick | None:
    """
    A pick from all lanes that knows nothing of this call; not followed if that lane is not open.

    None where the strategy has to see first which lanes are open.
    """
    if strategy == "round_robin":
        return itertools.cycle(lanes)
    if strategy == "priority":
        return itertools.repeat(lanes[0])
    if strategy == "weighted":
        return iter(lambda: by_weight(lanes, rng.random()), None)
    if strategy == "least_latency":
        return iter(lambda: of_two(lanes, clock.now(), rng.random(), rng.random()), None)
    return None


def choice_among(strategy: Strategy | Callable[[Sequence[Any]], Any], rng: random.Random) -> Among:
    """The pick from those lanes that are available, knowing which one failed before in this call."""
    if strategy == "round_robin":
        # The turns of lanes that rest are dealt out evenly among the others.
        spare = itertools.count()
        return lambda lanes, _now, failed: lanes[next(spare) % len(lanes)] if failed is None else after(lanes, failed)
    if strategy == "priority":
        return lambda lanes, _now, _failed: lanes[0]
    if strategy == "weighted":
        return lambda lanes, _now, _failed: by_weight(lanes, rng.random())
    if strategy == "least_latency":
        return lambda lanes, now, _failed: of_two(lanes, now, rng.random(), rng.random())
    return lambda lanes, _now, _failed: by_user(strategy, lanes)


def after(lanes: Sequence[Lane], failed: Lane) -> Lane:
    """The next one in the ring."""
    return next((lane for lane in lanes if lane.index > failed.index), lanes[0])


def by_weight(lanes: Sequence[Lane], roll: float) -> Lane:
    """By chance, in proportion to the weights; weight 0 only when there is nothing else."""
    mark = roll * sum(lane.weight for lane in lanes)
    for lane in lanes:
        mark -= lane.weight
        if mark < 0:
            return lane
    return lanes[-1] if lanes[-1].weight else max(lanes, key=lambda lane: lane.weight)


def of_two(lanes: Sequence[Lane], now: float, first: float, second: float) -> Lane:
    """
    The better of two random ones, by expected latency times calls in flight.

    The best of all would draw the whole crowd to one endpoint until its next measurement; two random choices do not:
    https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf
    """
    if len(lanes) == 1:
        lanes[0].handle.meet()
        return lanes[0]
    one = int(first * len(lanes))
    other = (one + 1 + int(second * (len(lanes) - 1))) % len(lanes)
    a, b = lanes[one], lanes[other]
    for each in (a, b):
        each.handle.meet()  # calls that a closed loop took along are under way no longer
    score_a, score_b = a.health.score(now), b.health.score(now)
    if score_a == score_b:
        return a if a.health.in_flight <= b.health.in_flight else b
    return a if score_a < score_b else b


def by_user(strategy: Callable[[Sequence[Any]], Any], lanes: Sequence[Lane]) -> Lane:
    chosen = strategy([lane.endpoint for lane in lanes])
    for lane in lanes:
        if lane.endpoint is chosen:
            return lane
    names = ", ".join(lane.name for lane in lanes)
    raise ValueError(
        f"strategy returned a {type(chosen).__name__} that is not one of the endpoints it was given: {names}"
    )


def check_of(endpoint: Any, health_check: Any) -> Callable[[Any], Any] | None:
    """The health check of an endpoint: the given one, else its own `.check()`, unless that was ruled out."""
    if health_check is not None:
        return health_check or None
    return (lambda each: each.check()) if callable(getattr(endpoint, "check", None)) else None


def weight_of(endpoint: Any, name: str) -> float:
    """The endpoint's own weight, 1.0 without one."""
    weight = getattr(endpoint, "weight", 1.0)
    check_number(f"weight of endpoint {name!r}", weight, least=0)
    return float(weight)
