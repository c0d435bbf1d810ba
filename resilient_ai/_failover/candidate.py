"""One endpoint as one call site uses it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_ai._core.checks import check_number

if TYPE_CHECKING:
    from resilient_ai._core.fast_path import Gate, Permits

    from .health import EndpointHealth
    from .shared import SharedEndpoint
    from .ticket import Ticket


@dataclass(slots=True, eq=False)
class Candidate:
    """
    One endpoint as one call site uses it.

    Attributes:
        index: Its position in the order given, from 0.
        endpoint: The endpoint as listed.
        name: Its name.
        weight: Its weight for the strategy "weighted".
        shared: Its state, shared with other call sites.
        call: The layers below the failover, bound to this endpoint.
        check: Its health check; None: a trial call decides.
        twin: What a plain function gets in its place.
        health: The health in `shared`.
        handed: The endpoint or its twin, as the argument before the caller's.
        gate: On the fast path: the gate in front of the function.
        permits: On the fast path: the permits that count calls in flight.
        within: On the fast path: calls the function within its time limit; None: there is no limit.
    """

    index: int
    endpoint: Any
    name: str
    weight: float
    shared: SharedEndpoint
    call: Any
    check: Callable[[Any], Any] | None = None
    twin: Any = None
    health: EndpointHealth = field(init=False)
    handed: tuple[Any] = field(init=False)
    gate: Gate | None = None
    permits: Permits | None = None
    within: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        self.health = self.shared.health
        self.handed = (self.endpoint if self.twin is None else self.twin,)

    def available(self, now: float) -> bool:
        """Whether a call may go there in normal operation."""
        trial = self.check is None
        return self.health.available(now, trial=trial) or (
            self.shared.forget_lost_calls() and self.health.available(now, trial=trial)
        )

    def admit(self, now: float) -> Ticket | None:
        return self.shared.admit(now, trial=self.check is None)


def check_of(endpoint: Any, health_check: Any) -> Callable[[Any], Any] | None:
    """The health check of an endpoint: the given one, else its own `.check()`; None if `health_check` is False."""
    if health_check is not None:
        return health_check or None
    check = getattr(endpoint, "check", None)
    # A mock has every attribute; its `check` counts only if it is a coroutine function.
    own = hasattr(type(endpoint), "check") or "check" in getattr(endpoint, "__dict__", ())
    return (lambda each: each.check()) if callable(check) and (own or inspect.iscoroutinefunction(check)) else None


def twin_of(endpoint: Any) -> Any:
    """What a plain function gets in place of an endpoint: its `sync`, if its class has one."""
    # The class is asked, because a mock object has every attribute.
    return endpoint.sync if hasattr(type(endpoint), "sync") else endpoint


def weight_of(endpoint: Any, name: str, *, weighs: bool) -> float:
    """
    The endpoint's own weight, 1.0 without one.

    Args:
        endpoint: The endpoint whose `weight` is read.
        name: Its name, for the message.
        weighs: Whether the strategy uses weights; otherwise a bad weight is ignored.

    Raises:
        ValueError: The weight is not a finite number of at least 0.
    """
    weight = getattr(endpoint, "weight", 1.0)
    if not weighs and not isinstance(weight, int | float):
        return 1.0
    check_number(f"weight of endpoint {name!r}", weight, least=0)
    return float(weight)
