"""When two calls are the same call: same function, same scope, equal arguments."""

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

    `1`, `1.0` and `True` differ. The key keeps no argument alive, and no text can be read from it.

    Raises:
        NoScope: An argument can neither be compared nor told apart from others, or is too large.
    """
    return digest(call.function, scope_of(call).digest, dict(call.arguments))


def scope_of(call: FailedCall) -> Scope:
    """
    The scope of a call: what its function carries, and what its method is bound to.

    Raises:
        NoScope: The instance can neither be compared nor told apart from others.
    """
    return (call.carried or Carried()).scope(call.instance)
