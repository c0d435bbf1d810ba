"""When two calls count as the same: same function, same scope, equal arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .digest import digest
from .scope import Carried

if TYPE_CHECKING:
    from .contract import FailedCall
    from .scope import Scope


def call_key(call: FailedCall) -> str:
    """
    A digest that is equal for calls of one function in one scope with equal arguments.

    `1`, `1.0` and `True` differ. The key keeps no argument alive, and reveals no text.

    Raises:
        NoScope: An argument can neither be compared by value nor identified, or is too large.
    """
    return digest(call.function, scope_of(call).digest, dict(call.arguments))


def scope_of(call: FailedCall) -> Scope:
    """
    The scope of a call: what its function carries, and the instance that its method is bound to.

    Raises:
        NoScope: The instance can neither be compared by value nor identified.
    """
    return (call.carried or Carried()).scope(call.instance)
