"""
Plain functions below the same layers as async ones.

A layer waits only for the layer below it, and for time to pass. A plain function does not await anything, and time
passes while its thread is blocked. So the coroutine of a whole call never suspends, and one step runs it from beginning
to end. No event loop is needed, and a loop that runs in the same thread is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .callables import name_of
from .errors import mark_if_wrong_call, nothing_sent
from .kinds import kind_of
from .plain_streams import LiftedStream, gives_plain_items, plain_stream
from .returned_stream import ReturnedStream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def lifted(fn: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A plain function as an async one for the layers, whose coroutine runs in one step."""
    known: type = type(None)  # the latest result type that is known to be an answer

    async def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal known
        try:
            # An empty dict would be copied, which costs a quarter of a bare await.
            result = fn(*args, **kwargs) if kwargs else fn(*args)
        except TypeError as error:
            mark_if_wrong_call(error)
            raise
        except StopIteration as error:  # a coroutine cannot raise it
            raise RuntimeError(f"{name_of(fn)} raised StopIteration") from error
        if type(result) is not known:
            if gives_plain_items(type(result)):
                return LiftedStream(result)
            _check(fn, result)
            known = type(result)
        return result

    call._plain_function = fn  # type: ignore[attr-defined]
    return call


def bare(fn: Any) -> Any:
    """The function that was lifted; any other object is returned unchanged."""
    return getattr(fn, "_plain_function", fn)


def driven(call: Callable[..., Coroutine[Any, Any, Any]], name: str) -> Callable[..., Any]:
    """
    A plain function that runs the coroutine of each call to its end.

    Args:
        call: Makes the coroutine of a call.
        name: Name of the function, for the error if the coroutine suspends.
    """

    def called(*args: Any, **kwargs: Any) -> Any:
        coroutine = call(*args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as done:
            result = done.value
        else:
            coroutine.close()
            raise needs_a_loop(name)
        return result if type(result) is not ReturnedStream else plain_stream(result)

    called.__qualname__ = name
    return called


def run_to_end(coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
    """
    The result of a coroutine that never suspends.

    Args:
        coroutine: The coroutine; it is closed if it suspends.
        name: What it does, for the error.

    Raises:
        RuntimeError: It waits for an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise needs_a_loop(name)


def needs_a_loop(name: str) -> RuntimeError:
    """The error for a plain function that would have to wait for an event loop."""
    return RuntimeError(f"{name} waits for an event loop, which a plain function does not; make it `async def`")


def _check(fn: Callable[..., Any], result: Any) -> None:
    """Refuse a result that has not sent its request yet: the request would be sent outside all policies."""
    kind = type(result)
    if any(base.__module__ == "unittest.mock" for base in kind.__mro__):
        return
    name = name_of(fn)
    if hasattr(kind, "__await__"):
        if callable(close := getattr(result, "close", None)):
            close()  # otherwise Python warns that the coroutine was never awaited
        raise nothing_sent(
            f"{name} is a plain function and gave {kind_of(result)}, which nobody has awaited; make it"
            f" `async def {name}` and `return await` what it calls"
        )
    if hasattr(kind, "__anext__"):
        raise nothing_sent(
            f"{name} is a plain function and gave {kind_of(result)}, which is read with `async for`; make it"
            f" `async def {name}`, whose body is `async for item in ...: yield item`"
        )
    if kind.__name__.endswith(("ContextManager", "StreamManager")):
        raise nothing_sent(
            f"{name} gave {kind_of(result)}, which sends its request when the block is entered, where no policy"
            f" is; make {name} a generator function instead, whose body is `with ... as stream:` and then"
            " `yield from stream`"
        )
