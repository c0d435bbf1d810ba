"""
The type that a decorated `async def` returns, for each type checker.

For mypy an `async def` returns a `Coroutine`, for pyright a `CoroutineType`. A decorated method can override an
undecorated one, and be overridden by one, only if its decorator returns the same type.
"""

import os

if os.name == "":  # never true; pyright knows that and reads the other branch, mypy does not and reads this one
    from collections.abc import Coroutine as CoroutineOf
else:
    from types import CoroutineType as CoroutineOf

__all__ = ["CoroutineOf"]
