"""
What a decorated `async def` gives, in the words of each type checker.

To mypy an `async def` gives a `Coroutine`, to pyright a `CoroutineType`. A decorated method overrides a plain one, and
is overridden by one, only where its decorator says the same.
"""

import os

if os.name == "":  # never; pyright knows that and reads the other branch, mypy does not and reads this one
    from collections.abc import Coroutine as CoroutineOf
else:
    from types import CoroutineType as CoroutineOf

__all__ = ["CoroutineOf"]
