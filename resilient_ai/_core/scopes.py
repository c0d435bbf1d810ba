"""Cancel scopes on a registry's clock, even if the clock can only tell the time and sleep."""

from __future__ import annotations

import math
from contextvars import Context
from typing import TYPE_CHECKING, Any

import anyio

from .log import log
from .tasks import current_loop, spawn

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from .clock import Clock


def move_on_after(clock: Clock, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
    """
    A cancel scope that ends by itself after so many seconds of a clock.

    Args:
        clock: The clock. Its own `move_on_after` is used if it has one; otherwise a task sleeps alongside the block.
        seconds: Seconds from the entry on; inf for a scope that does not end by itself.
    """
    own = getattr(clock, "move_on_after", None)
    return own(seconds) if own is not None else _SleptScope(clock, seconds)


def put_off(clock: Clock, scope: anyio.CancelScope, seconds: float) -> None:
    """Let a scope of `move_on_after` end so many seconds from now instead."""
    if (slept := _slept.get(id(scope))) is not None:
        slept.start(seconds)
    elif (own := getattr(clock, "put_off", None)) is not None:
        own(scope, seconds)
    elif scope.deadline < math.inf:  # a scope in the event loop's own time
        scope.deadline = anyio.current_time() + seconds


_slept: dict[int, _SleptScope] = {}  # the entered ones, by id of the scope


class _SleptScope:
    """`move_on_after` for a clock that has only `now` and `sleep`."""

    __slots__ = ("_clock", "_scope", "_seconds", "_task", "_timer")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._scope = anyio.CancelScope()
        self._timer: anyio.CancelScope | None = None
        self._task: Any = None  # asyncio holds tasks only weakly

    def __enter__(self) -> anyio.CancelScope:
        scope = self._scope.__enter__()
        _slept[id(scope)] = self
        self.start(self._seconds)
        return scope

    def start(self, seconds: float) -> None:
        """Sleep for so many seconds from now on, in place of the previous sleep."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds < math.inf:
            self._timer = timer = anyio.CancelScope()
            loop = current_loop()
            self._task = spawn(loop, lambda: self._sleep(seconds, timer), Context(), lambda: None)

    async def _sleep(self, seconds: float, timer: anyio.CancelScope) -> None:
        with timer:
            try:
                await self._clock.sleep(max(0.0, seconds))
            except Exception as error:  # noqa: BLE001 - a detached task may not raise: trio would end the whole run
                # The block goes on without its time limit; the calls in it have limits of their own.
                log(
                    "error",
                    "resilient_ai.clock_failed",
                    clock=type(self._clock).__qualname__,
                    error=type(error).__name__,
                )
                return
            if not timer.cancel_called:
                self._scope.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        del _slept[id(self._scope)]
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task = None
        return self._scope.__exit__(kind, error, trace)
