"""`@batched`: calls with one item each become calls with a list, without the callers knowing of each other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, Self, TypeVar, get_args, get_origin, overload

from resilient_ai._core.callables import without_parentheses
from resilient_ai._core.checks import check_callable, together
from resilient_ai._core.coroutine_type import CoroutineOf
from resilient_ai._core.handlers import Handler
from resilient_ai._core.policy import Policy, Site
from resilient_ai._core.public import public
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.wrapper import decorate

from .call_site import CallSite
from .config import BatchConfig, WhenFull
from .grouping import Grouping
from .handle import Batcher
from .results import Failure, checked_results, outcome

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class Batching(Protocol):
    """A decorator that turns a function of a list into a function of one item."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
    ) -> Callable[Concatenate[T, P], CoroutineOf[Any, Any, R]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[S, list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
    ) -> Callable[Concatenate[S, T, P], CoroutineOf[Any, Any, R]]: ...


class BatchedPolicy(Policy[Batcher]):
    kind = "batched"
    rank = 30
    not_outside: ClassVar = {"batched": "would batch batches; keep one"}
    per_endpoint = True
    needs_signature = True
    changeable = tuple(field.name for field in fields(BatchConfig))

    def __init__(
        self,
        name: object,
        config: BatchConfig,
        registry: StateStore,
        *,
        group_by: Callable[..., object] | None = None,
        weight: Callable[[Any], float] | None = None,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: BatchConfig = config
        self.group_by = group_by
        self.weight = weight

    def in_test(self, attempts: int) -> Self:  # noqa: ARG002
        self.config = replace(self.config, batch_timeout=0.0)
        self._states = ()  # a queue of its own, in which nobody waits
        return self

    def switched_off(self, call: Callable[..., Any], site: Site, skip: int) -> Callable[..., Any]:
        item_name = Grouping(site.signature, skip).item_name

        async def one(*args: Any, **kwargs: Any) -> Any:
            if item_name is not None and item_name in kwargs:
                kwargs = {**kwargs, item_name: [kwargs[item_name]]}
            else:
                args = (*args[:skip], list(args[skip : skip + 1]), *args[skip + 1 :])
            results = checked_results(await call(*args, **kwargs), 1, site.function)
            result = outcome(results[0], site.function, shared=False)
            if isinstance(result, Failure):
                raise result.error
            return result

        return one

    def options(self) -> dict[str, Any]:
        return {"group_by": self.group_by, "weight": self.weight}

    @classmethod
    def default_config(cls) -> BatchConfig:
        return BatchConfig()

    @classmethod
    def changed(cls, config: BatchConfig, changes: Mapping[str, Any]) -> BatchConfig:
        if together() and config.max_weight is None and changes.get("max_weight") is not None:
            raise ValueError("max_weight needs the decorator's weight=, which gives the weight of an item")
        return replace(config, **changes)

    def make_state(self, name: str) -> Batcher:
        return Batcher(name, self.config)

    def bind(self, bind_inner: Callable[[Site], Handler], site: Site) -> Handler:
        call_site = CallSite(
            bind_inner(site),
            self.state(site),
            self.config,
            self.registry,
            site,
            group_by=self.group_by,
            weight=self.weight,
        )
        return call_site.call

    def check_streaming(self, function: str) -> None:
        raise TypeError(
            f"@batched needs a function that returns one result per item; {function} is an async generator,"
            " and a stream cannot be dealt out"
        )

    def shown(self, parameters: list[inspect.Parameter], returned: Any) -> tuple[list[inspect.Parameter], Any]:
        """One item in place of the list, one result in place of the results."""
        if parameters:
            first = parameters[0]
            parameters = [first.replace(annotation=_element(first.annotation)), *parameters[1:]]
        return parameters, _element(returned)


_ORIGINS = (list, Sequence, MutableSequence, Collection, Iterable)
_LISTS = re.compile(r"(?:\w+\.)*(?:list|List|(?:Mutable)?Sequence|Collection|Iterable)\[(.*)\]", re.DOTALL)
_TUPLES = re.compile(r"(?:\w+\.)*[tT]uple\[(.*), *\.\.\.\]", re.DOTALL)


def _element(annotation: Any) -> Any:
    """`T` of `list[T]`, as a type or as a string; any other annotation is returned unchanged."""
    if isinstance(annotation, str):
        match = _LISTS.fullmatch(annotation.strip()) or _TUPLES.fullmatch(annotation.strip())
        return match[1].strip() if match else annotation
    origin, of = get_origin(annotation), get_args(annotation)
    listed = origin in _ORIGINS or (origin is tuple and of[1:] == (...,))
    return of[0] if listed else annotation


@overload
def batched(
    fn: Callable[Concatenate[list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
) -> Callable[Concatenate[T, P], CoroutineOf[Any, Any, R]]: ...
@overload
def batched(
    fn: Callable[Concatenate[S, list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
) -> Callable[Concatenate[S, T, P], CoroutineOf[Any, Any, R]]: ...
@overload
def batched(
    name: str | None = None,
    *,
    batch_size: int = 10,
    batch_timeout: float = 0.1,
    max_queue_size: int = 1000,
    when_full: WhenFull = "raise",
    max_concurrency: int | None = None,
    group_by: Callable[..., object] | None = None,
    weight: Callable[[Any], float] | None = None,
    max_weight: float | None = None,
    deduplicate: bool = False,
    bisect: bool = False,
    registry: StateStore | None = None,
) -> Batching: ...
@public()
def batched(
    name: Any = None,
    *,
    batch_size: int = 10,
    batch_timeout: float = 0.1,
    max_queue_size: int = 1000,
    when_full: WhenFull = "raise",
    max_concurrency: int | None = None,
    group_by: Callable[..., object] | None = None,
    weight: Callable[[Any], float] | None = None,
    max_weight: float | None = None,
    deduplicate: bool = False,
    bisect: bool = False,
    registry: StateStore | None = None,
) -> Any:
    """
    Write a function of a list, call it with one item: calls that come close together share one call below.

    Calls with equal other arguments share a batch; methods batch per instance. A batch leaves when it is full,
    when it has reached `max_weight`, or `batch_timeout` after its first item. A caller that stays alone runs the
    function itself, with its own context and deadline. A shared batch runs in a task of its own, with the context
    variables of its first caller: cancelling one caller does not affect the others, and the batch is cancelled when
    all its callers have left. There is nothing to start or to stop.

    An exception of the function goes to every caller of that batch, each with its own copy. An exception in the
    returned list goes only to that item's caller.

    Every event loop has batches of its own; the numbers in the registry cover all loops.

    Args:
        name: Call sites of one name share queue, slots and numbers. Default: the function's qualified name.
        batch_size: Most items in a batch. Default 10.
        batch_timeout: Seconds a batch waits for more items, from its first one on. Default 0.1. With 0, a batch takes
            the items that come in the same iteration of the loop.
        max_queue_size: Most items that wait to be sent, in each event loop. Default 1000.
        when_full: What a call does when so many wait: `"raise"` QueueFullError, the default, or `"wait"` for room,
            first come first served, for as long as its caller's deadline allows. Each waiting call keeps its item in
            memory.
        max_concurrency: Most batches in flight, in each event loop. Groups take turns; a batch that waits for a slot
            takes more items meanwhile. Default None: no bound.
        group_by: Called with the call's arguments (the instance first, for a method); calls with equal results
            share a batch, and the arguments of the first go with it. Default: all arguments but the item.
        weight: Called with an item, returns its weight, for example in tokens. Needs `max_weight`. Default None: no
            weights.
        max_weight: Most weight in a batch. An item above it goes alone. Default None: no bound.
        deduplicate: Send equal items that wait or run only once; their callers get the same result. Default False.
        bisect: Halve a batch that fails with INVALID_REQUEST, CONTEXT_LENGTH or CONTENT_FILTER until the items at
            fault fail alone. Default False.
        registry: The registry that keeps the numbers. Default: `resilient_ai.registry`.

    Raises:
        QueueFullError: By the decorated function, at once: `max_queue_size` items wait already. Not with
            `when_full="wait"`.
        RuntimeError: By the decorated function, called from inside a batch: it would wait for ever for one of the
            `max_concurrency` slots, which that batch holds itself, or a batch that waits for it.
        BatchResultError: By the decorated function: the function below did not return one result per item.
        TypeError: At decoration: the function is not async, or streams.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, BatchedPolicy(shared_name, config, where, group_by=group_by, weight=weight))

    bare = without_parentheses(name)
    shared_name = None if bare else name
    if (weight is None) != (max_weight is None):
        raise ValueError(f"weight and max_weight need each other, got weight={weight!r}, max_weight={max_weight!r}")
    check_callable("group_by", group_by)
    check_callable("weight", weight)
    config = BatchConfig(
        batch_size=batch_size,
        batch_timeout=batch_timeout,
        max_queue_size=max_queue_size,
        when_full=when_full,
        max_concurrency=max_concurrency,
        max_weight=max_weight,
        deduplicate=deduplicate,
        bisect=bisect,
    )
    return put_on(name) if bare else put_on
