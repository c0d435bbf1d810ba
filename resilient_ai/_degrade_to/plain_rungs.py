"""Wait for an awaitable that a rung of a plain function returns, such as a look-up in an async memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio

from resilient_ai._core.backend import in_trio
from resilient_ai._core.plain_calls import needs_a_loop
from resilient_ai._core.tasks import running_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable

_LONGEST: Final = 5.0  # seconds, as an async function's rungs have by default


def waited_for(answer: Awaitable[Any], what: str) -> Any:
    """
    The result of an awaitable, run in an event loop of its own.

    Raises:
        RuntimeError: A loop runs in this thread, which must not be blocked.
        TimeoutError: It took longer than 5 seconds.
    """
    if running_loop() is not None or in_trio():
        if (close := getattr(answer, "close", None)) is not None:
            close()  # otherwise Python warns that the coroutine was never awaited
        raise needs_a_loop(what)
    return anyio.run(_within_time, answer)


async def _within_time(answer: Awaitable[Any]) -> Any:
    with anyio.fail_after(_LONGEST):
        return await answer
