"""
What a policy is: something that is bound once to what lies below it, and then is one async function.

The whole stack of a decorated function is folded when it is first called. A failover binds what lies below it
once per endpoint; that is how a circuit below it becomes one circuit per endpoint, without being told.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import inspect

    from ._registry import Registry

# (bound function, instance or None, positional arguments, keyword arguments) -> coroutine.
# The instance is what a method is bound to; the bound function already knows it.
Handler = Callable[[Callable[..., Any], Any, "tuple[Any, ...]", "dict[str, Any]"], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a policy stands: the decorated function, and the endpoint when it stands below a failover."""

    function: str
    signature: inspect.Signature | None = None
    endpoint: str | None = None


class Policy(Protocol):
    """One layer of a stack."""

    kind: str
    name: str | None
    registry: Registry

    def bind(self, below: Callable[[Site], Handler], site: Site) -> Handler:
        """
        Make the function that runs this layer.

        Args:
            below: Binds what lies below for a site; a failover asks once per endpoint, the others once.
            site: Where this layer stands.
        """
        ...

    def prepare(self, site: Site) -> None:
        """Claim the state in the registry, so that clashing settings are an error at decoration."""
        ...

    def describe(self, site: Site) -> str:
        """One line: settings and live state."""
        ...
