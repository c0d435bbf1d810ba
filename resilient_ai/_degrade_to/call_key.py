"""When two calls are the same call: by the values of their arguments, and by identity where a class has no values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_ai._core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .contract import FailedCall


def call_key(call: FailedCall) -> Hashable:
    """
    A key that is equal for calls of one function on equal instances with equal arguments.

    `1`, `1.0` and `True` differ. Objects count by identity unless their class says when they are equal; they are
    not kept alive by the key.

    Raises:
        UnkeyableError: An argument can be neither hashed nor looked into, or is nested too deeply or is too large.
    """
    arguments = frozenset((name, frozen(value)) for name, value in call.arguments.items())
    return call.function, frozen(call.instance), arguments
