"""How the code around a call waits: a task lets others run meanwhile, a plain function blocks its thread."""

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
    """What a policy needs in order to wait."""

    @property
    def sleep(self) -> Callable[[float], Coroutine[Any, Any, None]]:
        """Waits for so many seconds of the registry's clock."""
        ...

    def seconds_left(self) -> float:
        """Seconds until the caller's deadline; infinite without one."""
        ...

    def obstacle(self) -> str | None:
        """What keeps the caller from waiting, in words; None: nothing does."""


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
        """The clock's: a coroutine of our own around it would be one more for every wait."""
        return self._clock.sleep

    def obstacle(self) -> None:
        """Nothing."""


class InThread:
    """
    Waiting of a plain function.

    Args:
        clock: The registry's. One with `block(seconds, until)` is waited for by that, any other in an event loop of
            its own.
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
        """Wait until an event is set, for so many seconds at most."""
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
