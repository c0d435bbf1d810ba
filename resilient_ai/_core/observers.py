"""Who looks at calls from outside, a tracer say: put around whole calls, and around each attempt."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .call_facts import OWN_VARIABLES
from .measurements import ATTEMPT, Series

if TYPE_CHECKING:
    from .clock import Clock
    from .handlers import Handler
    from .measurements import Measurements


class HasPolicies(Protocol):
    """The stack of a function, which this file must not know: it knows this file."""

    @property
    def policies(self) -> tuple[Any, ...]: ...


class HasMeasurements(Protocol):
    """A registry, likewise."""

    clock: Clock
    measurements: Measurements | None


class Observer(Protocol):
    """Somebody who looks at the calls of a registry's functions. Its handlers stand around the layers' own."""

    def wants(self, stack: HasPolicies) -> bool:
        """Whether it looks at the calls of this function; then they do not go on the fast path."""
        ...

    def call(self, call_site: str, handler: Handler) -> Handler:
        """What runs a whole call; `handler` runs the layers."""
        ...

    def attempt(self, call_site: str, endpoint: str | None, handler: Handler) -> Handler:
        """What runs the function once; `handler` calls it."""
        ...


# Of all callers that the running call is made for, what an observer follows each with; empty where it is for one.
made_for: ContextVar[tuple[Any, ...]] = ContextVar("resilient_ai.made_for", default=())
OWN_VARIABLES.add(made_for)


class AttemptTimer:
    """Measures the attempts of functions that no policy measures."""

    def __init__(self, registry: HasMeasurements) -> None:
        self._registry = registry

    def wants(self, stack: HasPolicies) -> bool:
        return not any(policy.measures for policy in stack.policies)

    def call(self, call_site: str, handler: Handler) -> Handler:  # noqa: ARG002
        return handler

    def attempt(self, call_site: str, endpoint: str | None, handler: Handler) -> Handler:
        registry, now = self._registry, self._registry.clock.now

        async def timed(*call: Any) -> Any:
            if (measurements := registry.measurements) is None:
                return await handler(*call)
            started, outcome = now(), "failed"
            try:
                result = await handler(*call)
                outcome = "ok"
                return result
            except Exception:
                raise
            except BaseException:  # cancelled: nobody's failure
                outcome = ""
                raise
            finally:
                if outcome:
                    measurements.add(Series(ATTEMPT, call_site, endpoint, outcome), now() - started)

        return timed
