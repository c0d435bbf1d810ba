"""Calls inside a probe: calls to the same circuit are part of that probe, and need no probe of their own."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from resilient_ai._core.call_facts import OWN_VARIABLES

if TYPE_CHECKING:
    from resilient_ai._core.handlers import Handler

    from .state import Circuit
    from .tickets import Ticket

# The probes that the running code is part of, each with its circuit.
_probes: ContextVar[tuple[tuple[Circuit, Ticket], ...]] = ContextVar("resilient_ai.probes", default=())
OWN_VARIABLES.add(_probes)


def is_inside_probe_of(circuit: Circuit) -> bool:
    """Whether the running code is part of a probe of this circuit that is still in flight."""
    return any(each is circuit and circuit.holds(probe) for each, probe in _probes.get())


def inside_probe(circuit: Circuit, probe: Ticket, inner: Handler) -> Handler:
    """A handler that runs `inner` as part of a probe."""

    async def probing(fn: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outer = _probes.get()
        _probes.set((*outer, (circuit, probe)))
        try:
            return await inner(fn, instance, args, kwargs)
        finally:
            # Without a token: a stream may be closed in another context, where a token is not valid.
            _probes.set(outer)

    return probing
