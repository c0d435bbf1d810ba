"""One endpoint as one call site uses it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_ai._core.checks import check_number

if TYPE_CHECKING:
    from resilient_ai._core.fast_path import Gate, Permits

    from .health import EndpointHealth, Ticket
    from .shared import SharedEndpoint


@dataclass(slots=True, eq=False)
class Candidate:
    """
    One endpoint as one call site uses it.

    Attributes:
        index: Its place in the order given.
        endpoint: As it is listed.
        name: Its name.
        weight: Its share of calls where chance decides.
        shared: Its state, shared with other call sites.
        call: What lies below the failover, bound for this endpoint.
        check: Its health check; None: a trial call instead.
        twin: What a plain function is handed in its place.
        health: The state's.
        handed: Goes before the caller's arguments.
        gate: On a fast path: what stands in front of the function.
        permits: On a fast path: what counts the calls under way.
        within: On a fast path: what calls the function within its time; None: nothing bounds it.
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
        """Whether a call may go there in the normal run of things."""
        trial = self.check is None
        return self.health.available(now, trial=trial) or (
            self.shared.forget_lost_calls() and self.health.available(now, trial=trial)
        )

    def admit(self, now: float) -> Ticket | None:
        return self.shared.admit(now, trial=self.check is None)


def check_of(endpoint: Any, health_check: Any) -> Callable[[Any], Any] | None:
    """The health check of an endpoint: the given one, else its own `.check()`, unless that was ruled out."""
    if health_check is not None:
        return health_check or None
    check = getattr(endpoint, "check", None)
    # A mock has all names; it means this one if somebody has put a coroutine function there.
    own = hasattr(type(endpoint), "check") or "check" in getattr(endpoint, "__dict__", ())
    return (lambda each: each.check()) if callable(check) and (own or inspect.iscoroutinefunction(check)) else None


def twin_of(endpoint: Any) -> Any:
    """What a plain function is handed in place of an endpoint: its `sync`, if its class has one."""
    # The class is asked, as a mock has all names.
    return endpoint.sync if hasattr(type(endpoint), "sync") else endpoint


def weight_of(endpoint: Any, name: str, *, weighs: bool) -> float:
    """
    The endpoint's own weight, 1.0 without one.

    Args:
        endpoint: Its `weight` is read.
        name: Its name, for the message.
        weighs: Whether the strategy goes by weights; else what is no weight is nobody's mistake.

    Raises:
        ValueError: It is not a finite number of at least 0.
    """
    weight = getattr(endpoint, "weight", 1.0)
    if not weighs and not isinstance(weight, int | float):
        return 1.0
    check_number(f"weight of endpoint {name!r}", weight, least=0)
    return float(weight)
