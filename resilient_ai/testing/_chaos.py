"""`chaos`: random faults in a function, without a server."""

from __future__ import annotations

import copy
import functools
import inspect
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import ErrorType, ResilienceError
from resilient_ai._core.public import public
from resilient_ai._core.state_store import default_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resilient_ai._core.clock import Clock
    from resilient_ai._core.wrapper import AsyncDecorator
    from resilient_ai._registry import Registry

    AnyError = Exception | type[Exception] | ErrorType | Callable[[], Exception]


@public("testing")
class InjectedError(ResilienceError):
    """The error that `chaos` raises for an `ErrorType`."""

    def __init__(self, error_type: ErrorType) -> None:
        super().__init__(f"{error_type.value}, injected by chaos")
        self.error_type = error_type


@public("testing")
def chaos(
    rate: float,
    *,
    errors: Iterable[AnyError] = (ConnectionResetError,),
    delay: float = 0.0,
    after_items: int = 0,
    seed: int = 0,
    registry: Registry | None = None,
) -> AsyncDecorator:
    """
    Let a share of the calls of an async function fail, or start late; put it directly on the function.

    Args:
        rate: Share of the calls with a fault, 0 to 1.
        errors: The errors, of which a random one is raised: exceptions, exception classes, functions that make one, or
            `ErrorType`s. Default `ConnectionResetError`; `()` raises nothing, for calls that are only late.
        delay: Seconds, on the registry's clock, before a call with a fault fails or begins. Default 0.
        after_items: For a stream: items before the error. Default 0.
        seed: Seed of the random choices; the same seed chooses the same calls. Default 0.
        registry: The registry whose clock is used. Default: `resilient_ai.registry`.

    Raises:
        ValueError: At decoration: a bad setting.
        TypeError: At decoration: not an async function.

    Examples:
        >>> from resilient_ai import ErrorType
        >>> @chaos(0.2, errors=[ErrorType.MODEL_OVERLOADED, TimeoutError], seed=7)
        ... async def ask(prompt: str) -> str: ...
    """
    check_number("rate", rate, least=0, most=1)
    check_number("delay", delay, least=0)
    check_number("after_items", after_items, least=0, whole=True)
    clock = (registry if registry is not None else default_registry()).clock
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    faults = _Faults(rate, _checked(errors), delay, after_items, rng, clock)

    def put_on(fn: Callable[..., Any]) -> Any:
        if inspect.isasyncgenfunction(fn):
            return faults.in_stream(fn)
        if not inspect.iscoroutinefunction(fn):
            raise TypeError(f"@chaos needs an async function, got {getattr(fn, '__qualname__', type(fn).__qualname__)}")
        return faults.in_call(fn)

    return put_on


class _Faults(NamedTuple):
    rate: float
    choices: tuple[AnyError, ...]
    delay: float
    after_items: int
    rng: random.Random
    clock: Clock

    def in_call(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            if await self._hits():
                self._strike()
            return await fn(*args, **kwargs)

        return call

    def in_stream(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def stream(*args: Any, **kwargs: Any) -> Any:
            hit = await self._hits()
            if hit and not self.after_items:
                self._strike()
            async with aclosing(fn(*args, **kwargs)) as items:
                number = 0
                async for item in items:
                    yield item
                    number += 1
                    if hit and number == self.after_items:
                        self._strike()

        return stream

    async def _hits(self) -> bool:
        """Return whether a call gets a fault, after the delay if it does."""
        if self.rng.random() >= self.rate:
            return False
        if self.delay:
            await self.clock.sleep(self.delay)
        return True

    def _strike(self) -> None:
        if self.choices:
            raise _raised(self.rng.choice(self.choices))


def _checked(errors: Iterable[AnyError]) -> tuple[AnyError, ...]:
    choices = tuple(errors)
    for each in choices:
        if not isinstance(each, Exception | ErrorType) and not callable(each):
            raise ValueError(f"errors takes exceptions, functions that make one and ErrorTypes, got {each!r}")
    return choices


def _raised(error: AnyError) -> Exception:
    if isinstance(error, ErrorType):
        return InjectedError(error)
    # An exception that is raised again would keep its old traceback.
    return copy.copy(error) if isinstance(error, Exception) else error()
