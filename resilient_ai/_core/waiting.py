"""How a call waits: a task lets others run meanwhile, a plain function blocks its thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from .backend import in_trio
from .deadline import seconds_left
from .tasks import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .clock import Clock
    from .policy import Site


class Waiting(Protocol):
    """What a policy needs for waiting."""

    @property
    def sleep(self) -> Callable[[float], Coroutine[Any, Any, None]]:
        """The function that waits for so many seconds of the registry's clock."""
        ...

    def seconds_left(self, within: float = ..., /) -> float:
        """Seconds until the caller's deadline; inf without one, and possibly inf if it is further off than `within`."""
        ...

    def obstacle(self) -> str | None:
        """Why the caller cannot wait, in words; None if it can."""


class InTask:
    """
    Waiting of an async function.

    Args:
        clock: The registry's.
    """

    __slots__ = ("_clock",)

    seconds_left = staticmethod(seconds_left)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def sleep(self) -> Callable[[float], Coroutine[Any, Any, None]]:
        """The clock's own sleep, without another coroutine around it."""
        return self._clock.sleep

    def obstacle(self) -> None:
        """None: a task can always wait."""


class InThread:
    """
    Waiting of a plain function.

    Args:
        clock: The registry's clock. If it has `block(seconds, until)`, that is used; otherwise its `sleep` runs in an
            event loop of its own.
    """

    __slots__ = ("_clock",)

    seconds_left = staticmethod(seconds_left)

    def __init__(self, clock: Clock) -> None:
        self._clock: Any = clock

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        if (block := getattr(self._clock, "block", None)) is not None:
            block(seconds)
        else:
            anyio.run(self._clock.sleep, seconds)

    def block(self, seconds: float, until: threading.Event) -> None:
        """Wait until an event is set, for at most so many seconds."""
        if (block := getattr(self._clock, "block", None)) is not None:
            block(seconds, until)
        else:
            until.wait(min(seconds, threading.TIMEOUT_MAX))

    def obstacle(self) -> str | None:
        if (running_loop() is None and not in_trio()) or not getattr(self._clock, "blocks", True):
            return None
        return (
            "a plain function does not block the event loop that runs in its thread; make it `async def`, or call it"
            " with `await anyio.to_thread.run_sync(...)`"
        )


def waiting_of(site: Site, clock: Clock) -> Waiting:
    """How the calls of a function wait."""
    return InThread(clock) if site.plain else InTask(clock)
