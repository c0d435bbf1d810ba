"""Observers of calls, such as a tracer: put around whole calls and around each attempt."""

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
    """The stack of a function, which this file must not import: it imports this file."""

    @property
    def policies(self) -> tuple[Any, ...]: ...


class HasMeasurements(Protocol):
    """A registry, which this file must not import either."""

    clock: Clock
    measurements: Measurements | None


class Observer(Protocol):
    """Observes the calls of a registry's functions. Its handlers wrap those of the layers."""

    def wants(self, stack: HasPolicies) -> bool:
        """Return whether it observes the calls of this function; then they do not use the fast path."""
        ...

    def call(self, call_site: str, handler: Handler) -> Handler:
        """Return what runs a whole call; `handler` runs the layers."""
        ...

    def attempt(self, call_site: str, endpoint: str | None, handler: Handler) -> Handler:
        """Return what runs the function once; `handler` calls it."""
        ...


# What an observer follows each caller with, if the running call is made for several; empty if it is for one.
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
            except BaseException:  # cancelled, which is no failure
                outcome = ""
                raise
            finally:
                if outcome:
                    measurements.add(Series(ATTEMPT, call_site, endpoint, outcome), now() - started)

        return timed
