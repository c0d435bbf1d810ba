"""`each`: turn a function of one item into a function of a list, for providers that take no batches."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

import anyio

from resilient_ai._core.callables import needs_async, shape_of, takes_instance
from resilient_ai._core.checks import check_number
from resilient_ai._core.coroutine_type import CoroutineOf
from resilient_ai._core.public import public

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class _Lift(Protocol):
    def __call__(
        self, fn: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], /
    ) -> Callable[Concatenate[list[T], P], CoroutineOf[Any, Any, list[R | Exception]]]: ...


@overload
def each(
    fn: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], /, *, max_concurrency: int = 10
) -> Callable[Concatenate[list[T], P], CoroutineOf[Any, Any, list[R | Exception]]]: ...
@overload
def each(*, max_concurrency: int = 10) -> _Lift: ...
@public()
def each(fn: Any = None, /, *, max_concurrency: int = 10) -> Any:
    """
    Call a function once per item of a list, several at a time.

    The new function takes a list where `fn` takes an item, passes all other arguments on, and returns results or
    exceptions in the order of the items: one failure does not stop the others. Cancellation stops them all. With
    `@batched` on top, callers with one item each share the concurrency bound, the queue and the groups.

    Args:
        fn: An async function, method or callable of one item. In a class body `each` works at run time, but type
            checkers take `self` for the item; pass the bound method instead: `each(client.embed_one)`.
        max_concurrency: Most calls at a time, within one list. Default 10.

    Raises:
        TypeError: `fn` is not an async function, or streams.
        ValueError: A bad `max_concurrency`.
    """
    check_number("max_concurrency", max_concurrency, least=1, whole=True)
    if fn is None:
        return functools.partial(each, max_concurrency=max_concurrency)
    shape = shape_of(fn, "each")
    if shape.plain:
        raise needs_async(fn, "each")
    if shape.streaming:
        raise TypeError(f"each needs a function that returns; {fn!r} is an async generator")

    async def call_all(call: Callable[[Any], Coroutine[Any, Any, Any]], items: list[Any]) -> list[Any]:
        results: list[Any] = [None] * len(items)
        waiting = iter(enumerate(items))

        async def work() -> None:
            for number, item in waiting:
                try:
                    results[number] = await call(item)
                except Exception as error:  # noqa: BLE001 - it is this item's result
                    results[number] = error

        if len(items) == 1:
            await work()
        else:
            async with anyio.create_task_group() as tasks:
                for _ in range(min(max_concurrency, len(items))):
                    tasks.start_soon(work)
        return results

    at = int(takes_instance(fn))  # position of the list of items

    async def of_list(*args: Any, **kwargs: Any) -> list[Any]:
        if len(args) <= at:
            raise TypeError(f"{lifted.__qualname__} needs a list of items as its first argument")
        before, items, rest = args[:at], args[at], args[at + 1 :]
        return await call_all(lambda item: fn(*before, item, *rest, **kwargs), items)

    lifted = functools.update_wrapper(of_list, fn, assigned=_named(fn), updated=())
    lifted.__signature__ = _of_list(fn)  # type: ignore[attr-defined]
    return lifted


def _named(fn: Any) -> list[str]:
    return [name for name in functools.WRAPPER_ASSIGNMENTS if name != "__annotations__" and hasattr(fn, name)]


def _of_list(fn: Any) -> inspect.Signature | None:
    """The signature of `fn` with a list in place of the item, and of the result."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    at = int(takes_instance(fn))
    if len(parameters) > at:
        parameters[at] = parameters[at].replace(annotation=_listed(parameters[at].annotation))
    return signature.replace(parameters=parameters, return_annotation=_listed(signature.return_annotation))


def _listed(annotation: Any) -> Any:
    if annotation is inspect.Signature.empty:
        return annotation
    return f"list[{annotation}]" if isinstance(annotation, str) else list[annotation]
