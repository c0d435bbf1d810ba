"""One way to write a behaviour down for tasks of asyncio, tasks of trio, and plain functions in a thread."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai.testing import VirtualClock


@dataclass
class Caller:
    """
    How functions are defined and called.

    Attributes:
        backend: "asyncio", "trio" or "threads".
        clock: Moves by itself while a call waits.
    """

    backend: str
    clock: VirtualClock

    def function(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """A function with this body, to be decorated."""
        if self.backend == "threads":
            return body

        @functools.wraps(body)
        async def function(*args: Any, **kwargs: Any) -> Any:
            return body(*args, **kwargs)

        return function

    def scripted(self, *outcomes: Any) -> Callable[..., Any]:
        """A function that gives one outcome per call, the last one for ever; exceptions are raised."""
        left = list(outcomes)

        def scripted(*_args: Any, **_kwargs: Any) -> Any:
            calls.append(self.clock.now())
            outcome = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        function = self.function(scripted)
        calls: list[float] = []
        function.calls = calls  # type: ignore[attr-defined]
        return function

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a call gives."""
        if self.backend == "threads":
            return function(*args, **kwargs)

        async def run() -> Any:
            async with self.clock.autojump():
                return await function(*args, **kwargs)

        return anyio.run(run, backend=self.backend)
