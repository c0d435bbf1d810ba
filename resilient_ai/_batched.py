"""`@batched`: calls with one item each become calls with a list, without the callers knowing of each other."""

from __future__ import annotations

import contextvars
import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_args, get_origin, overload

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from ._batch import ENDED, FILLING, RUNNING, Batch, BatchConfig, Item, Line
from ._batch_key import Grouping, hashable
from ._batch_results import Failure, checked_results, dealt
from ._batcher import Batcher, Lane
from ._classify import classify
from ._detached import Promise, current_loop, next_turn, spawn
from ._errors import BatchResultError, ErrorType, QueueFullError
from ._events import BatchSent
from ._policy import Handler, Policy, Site, StreamHandler
from ._registry import Registry, default_registry
from ._stack import decorate

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

# Errors that one bad item can cause for its whole batch. Never a rate limit: halves would only add to it.
POISON = frozenset({ErrorType.INVALID_REQUEST, ErrorType.CONTEXT_LENGTH, ErrorType.CONTENT_FILTER})

# The batches that the running code is part of, innermost first.
_inside: contextvars.ContextVar[tuple[Batch, Any] | None] = contextvars.ContextVar("resilient_ai.batch", default=None)


class Batching(Protocol):
    """A decorator that turns a function of a list into a function of one item."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
    ) -> Callable[Concatenate[T, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[S, list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
    ) -> Callable[Concatenate[S, T, P], Coroutine[Any, Any, R]]: ...


class _Trip:
    """What a batch needs to run: the call of its first caller, and the task that runs it once it is shared."""

    __slots__ = ("args", "company", "context", "fn", "go", "instance", "kwargs", "scope", "task")

    def __init__(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn = fn
        self.instance = instance
        self.args = args
        self.kwargs = kwargs
        self.context = contextvars.copy_context()
        self.company: Promise | None = None  # the first caller waits here, while it is alone
        self.go: Promise | None = None  # the task waits here
        self.scope: anyio.CancelScope | None = None  # of the task; None while there is none
        self.task: object = None


class BatchedPolicy(Policy[Batcher]):
    kind = "batched"
    per_endpoint = True

    def __init__(
        self,
        name: object,
        config: BatchConfig,
        registry: Registry,
        *,
        group_by: Callable[..., object] | None = None,
        weight: Callable[[Any], float] | None = None,
    ) -> None:
        super().__init__(name, config, registry)
        self.config: BatchConfig = config
        self.group_by = group_by
        self.weight = weight

    def make_state(self, name: str) -> Batcher:
        return Batcher(name, self.config)

    def bind(self, below: Callable[[Site], Handler], site: Site) -> Handler:
        return _Station(self, below(site), self.state(site), site).call

    def bind_stream(self, below: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:  # noqa: ARG002
        raise TypeError(
            f"@batched needs a function that returns one result per item; {site.function} is an async generator,"
            " and a stream cannot be dealt out"
        )

    def shown(self, parameters: list[inspect.Parameter], returned: Any) -> tuple[list[inspect.Parameter], Any]:
        """One item in place of the list, one result in place of the results."""
        if parameters:
            first = parameters[0]
            parameters = [first.replace(annotation=_element(first.annotation)), *parameters[1:]]
        return parameters, _element(returned)


class _Station:
    """Where the calls of one call site are put into batches, and from where the batches leave."""

    def __init__(self, policy: BatchedPolicy, inner: Handler, batcher: Batcher, site: Site) -> None:
        self.inner = inner
        self.batcher = batcher
        self.config = policy.config
        self.registry = policy.registry
        self.clock = policy.registry.clock
        self.now = policy.registry.clock.now
        self.group_by = policy.group_by
        self.weight = policy.weight
        self.function = site.function
        self.before = 0 if site.endpoint is None else 1  # a failover above hands in its endpoint first
        self.of_function = Grouping(site.signature, self.before)
        self.of_method = Grouping(site.signature, self.before + 1)
        # Two functions may share a name, and so a queue, but never a batch; nor may two instances.
        self.usual_group: Hashable = None
        if self.group_by is None and self.of_function.default is not None:
            self.usual_group = self, None, self.of_function.default
        self.simple = self.weight is None and not self.config.deduplicate and self.config.max_concurrency is None

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        loop = current_loop()
        lane = self.batcher.lane(loop)
        line = lane.line
        if len(args) == 1 and not kwargs and instance is None and self.usual_group is not None and not self.before:
            group, value = self.usual_group, args[0]
        else:
            group, value, args, kwargs = self._parted(instance, args, kwargs)
        waiter = lane.promise(loop=loop)
        join = line.join if self.simple else partial(self._join, line)
        item = join(group, value, waiter, self.now())
        if item is None:
            await checkpoint_if_cancelled()  # a cancelled caller hears of that, not of the queue
            raise QueueFullError(self.batcher.name, max_queue_size=self.config.max_queue_size)
        batch = item.batch
        trip: _Trip | None = batch.cargo
        alone = trip is None
        if trip is None:
            trip = batch.cargo = _Trip(fn, instance, args, kwargs)
            if self.config.deduplicate:  # an equal item may come while it runs
                self._spawn(loop, lane, batch, trip)
                alone = False
        elif trip.scope is None:
            self._spawn(loop, lane, batch, trip)
        if line.started:
            _launch(lane)
        try:
            inline = alone and await self._stays_alone(loop, lane, batch, trip)
            result = None if inline else await waiter
        except BaseException:
            if line.leave(item, waiter) and not lane.is_closed():
                self._abandon(lane, batch, trip)
            raise
        if inline:
            return await self._run_inline(lane, item, waiter, trip)
        if type(result) is Failure:
            raise result.for_one_caller()
        return result

    # -- joining

    def _parted(
        self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Hashable, Any, tuple[Any, ...], dict[str, Any]]:
        """Group, item, and the arguments with a hole where the item was."""
        grouping = self.of_function if instance is None else self.of_method
        at = self.before
        if len(args) > at:
            value = args[at]
        elif grouping.item_name is not None and grouping.item_name in kwargs:
            kwargs = dict(kwargs)
            value = kwargs.pop(grouping.item_name)
            args = (*args, value)
        else:
            raise TypeError(f"{self.function} is called with one item, got none")
        key: Hashable
        if self.group_by is None:
            key = grouping.key(args[at + 1 :], kwargs) if len(args) > at + 1 or kwargs else grouping.default
        else:
            own = args[at:] if instance is None else (instance, *args[at:])
            key = hashable(self.group_by(*own, **kwargs))
        return (self, None if instance is None else id(instance), key), value, args, kwargs

    def _join(self, line: Line, group: Hashable, value: Any, waiter: Promise, now: float) -> Item | None:
        weight, twin = 0.0, None
        if self.weight is not None:
            weight = self.weight(value)
            if not _is_weight(weight):
                raise ValueError(f"weight= of {self.function} must give a number of at least 0, got {_shown(weight)}")
        if self.config.deduplicate:
            twin = hashable((type(value), value))
        above, held = _inside.get(), None
        while above is not None:
            held = above[0] if above[0] in line.running else held
            above = above[1]
        if held is not None and self.config.max_concurrency is not None:
            raise RuntimeError(
                f"{self.function} calls itself from inside one of its batches, and would wait for a place"
                " that this batch holds; call the undecorated function, or set max_concurrency=None"
            )
        item = line.join(group, value, waiter, now, weight=weight, twin=twin)
        if item is not None and item.batch is held:
            line.leave(item, waiter)
            raise RuntimeError(
                f"{self.function} asks itself for an item of the batch that is running, and would wait for ever"
            )
        return item

    # -- alone

    async def _stays_alone(self, loop: Any, lane: Lane, batch: Batch, trip: _Trip) -> bool:
        """Wait for company until the batch leaves; True when none came and it may run now."""
        line = lane.line
        if batch.phase is FILLING:
            await next_turn(loop)
        if batch.phase is FILLING and trip.scope is None and (left := batch.due - self.now()) > 0:
            trip.company = lane.promise(loop=loop)
            with self.clock.move_on_after(left):
                await trip.company
        if batch.phase is FILLING and trip.scope is None:
            line.due(batch, self.now())
            _launch(lane)
        if batch.phase is not RUNNING and trip.scope is None:
            self._spawn(loop, lane, batch, trip)  # it waits for a place, and takes company on meanwhile
        return trip.scope is None

    async def _run_inline(self, lane: Lane, item: Item, waiter: Promise, trip: _Trip) -> Any:
        """The caller runs its own call: own context, own deadline, own cancellation."""
        line = lane.line
        token = None if self.simple else _inside.set((item.batch, _inside.get()))
        try:
            [result] = await self._send(trip, [item])
            result = dealt(result, self.function, shared=False)
            failed = type(result) is Failure
            line.settle([item], failed=failed)
            if failed:
                raise result.error
            return result
        except Exception:
            if not item.settled:
                line.settle([item], failed=True)
            raise
        except BaseException:
            line.leave(item, waiter)
            raise
        finally:
            if token is not None:
                _inside.reset(token)
            self._end(lane, item.batch)

    # -- in company

    def _spawn(self, loop: Any, lane: Lane, batch: Batch, trip: _Trip) -> None:
        trip.scope = anyio.CancelScope()
        if trip.company is not None and not trip.company.done():
            trip.company.set_result(None)
        trip.task = spawn(
            loop, partial(self._run, loop, lane, batch, trip), trip.context, partial(self._end, lane, batch)
        )

    async def _run(self, loop: Any, lane: Lane, batch: Batch, trip: _Trip) -> None:
        """The task of a shared batch: wait until it may leave, call, and deal out."""
        assert trip.scope is not None  # noqa: S101 - for the type checkers
        try:
            with trip.scope:
                await self._departure(loop, lane, batch, trip)
                if not self.simple:
                    _inside.set((batch, _inside.get()))
                await self._send_and_deal(lane.line, trip, [item for item in batch.items if item.waiters])
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - trio takes what leaves a system task for a bug of its own
            self._fail(lane.line, [item for item in batch.items if not item.settled], error)

    async def _departure(self, loop: Any, lane: Lane, batch: Batch, trip: _Trip) -> None:
        if batch.phase is FILLING:
            if (left := batch.due - self.now()) > 0:
                trip.go = lane.promise(loop=loop)
                with self.clock.move_on_after(left):
                    await trip.go
            if batch.phase is FILLING:
                lane.line.due(batch, self.now())
                _launch(lane)
        if batch.phase is not RUNNING:
            trip.go = lane.promise(loop=loop)
            await trip.go

    async def _send_and_deal(self, line: Line, trip: _Trip, items: list[Item]) -> None:
        try:
            results = await self._send(trip, items)
        except Exception as error:  # noqa: BLE001 - it goes to the callers
            if len(items) == 1 or not self.config.bisect or classify(error).error_type not in POISON:
                self._fail(line, items, error)
                return
        else:
            self._deal(line, items, results)
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            if wanted := [item for item in half if item.waiters]:
                await self._send_and_deal(line, trip, wanted)

    async def _send(self, trip: _Trip, items: list[Item]) -> Sequence[Any]:
        if self.registry.listening:
            self.registry.emit(BatchSent(self.batcher.name, len(items), self.now() - items[0].since))
        at, args = self.before, trip.args
        sent = (*args[:at], [item.value for item in items], *args[at + 1 :])
        results = await self.inner(trip.fn, trip.instance, sent, trip.kwargs)
        return checked_results(results, len(items), self.function)

    def _deal(self, line: Line, items: list[Item], results: Sequence[Any]) -> None:
        good, bad = items, list[Item]()
        if any(isinstance(result, BaseException) for result in results):
            good, bad = [], []
            times = Counter(id(result) for result in results)
            outcomes = []
            for item, result in zip(items, results, strict=True):
                shared = times[id(result)] > 1 or len(item.waiters) > 1
                outcomes.append(outcome := dealt(result, self.function, shared=shared))
                (bad if type(outcome) is Failure else good).append(item)
            results = outcomes
        line.settle(good)
        if bad:
            line.settle(bad, failed=True)
        for item, result in zip(items, results, strict=True):
            for waiter in item.waiters:
                if not waiter.done():
                    waiter.set_result(result)

    def _fail(self, line: Line, items: list[Item], error: BaseException) -> None:
        failure = Failure(error, shared=sum(len(item.waiters) for item in items) > 1)
        line.settle(items, failed=True)
        for item in items:
            for waiter in item.waiters:
                if not waiter.done():
                    waiter.set_result(failure)

    # -- ends

    def _abandon(self, lane: Lane, batch: Batch, trip: _Trip) -> None:
        """Nobody waits for the batch any more."""
        if trip.scope is not None:
            trip.scope.cancel()  # its task ends, and ends the batch
        else:
            self._end(lane, batch)

    def _end(self, lane: Lane, batch: Batch) -> None:
        """The batch is over, whichever way: free its place, and let nobody wait for nothing."""
        line = lane.line
        if batch.phase is ENDED:
            return
        lost = line.finish(batch, self.now())
        if lane.is_closed():
            return
        if lost:
            self._fail(
                line, lost, BatchResultError(f"a batch of {self.function} was cancelled, but not by its callers")
            )
        _launch(lane)


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _shown(value: Any) -> str:
    """A number, or the type of anything else: it may be the prompt."""
    return repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


def _launch(lane: Lane) -> None:
    """Wake whoever is to run the batches that have got a place."""
    line = lane.line
    if not line.started:
        return
    started, line.started = line.started, []
    for batch in started:
        trip: _Trip = batch.cargo
        for promise in (trip.go, trip.company):
            if promise is not None and not promise.done():
                promise.set_result(None)


_LISTS = re.compile(r"(?:\w+\.)*(?:list|List|Sequence)\[(.*)\]", re.DOTALL)


def _element(annotation: Any) -> Any:
    """`T` of `list[T]`, written out or as a string; what is no list stays."""
    if isinstance(annotation, str):
        match = _LISTS.fullmatch(annotation.strip())
        return match[1].strip() if match else annotation
    listed = get_origin(annotation) in (list, Sequence)
    return get_args(annotation)[0] if listed else annotation


@overload
def batched(
    fn: Callable[Concatenate[list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
) -> Callable[Concatenate[T, P], Coroutine[Any, Any, R]]: ...
@overload
def batched(
    fn: Callable[Concatenate[S, list[T], P], Coroutine[Any, Any, Sequence[R | Exception]]], /
) -> Callable[Concatenate[S, T, P], Coroutine[Any, Any, R]]: ...
@overload
def batched(
    name: str | None = None,
    /,
    *,
    batch_size: int = 10,
    batch_timeout: float = 0.1,
    max_queue_size: int = 1000,
    max_concurrency: int | None = None,
    group_by: Callable[..., object] | None = None,
    weight: Callable[[Any], float] | None = None,
    max_weight: float | None = None,
    deduplicate: bool = False,
    bisect: bool = False,
    registry: Registry | None = None,
) -> Batching: ...
def batched(
    name: Any = None,
    /,
    *,
    batch_size: int = 10,
    batch_timeout: float = 0.1,
    max_queue_size: int = 1000,
    max_concurrency: int | None = None,
    group_by: Callable[..., object] | None = None,
    weight: Callable[[Any], float] | None = None,
    max_weight: float | None = None,
    deduplicate: bool = False,
    bisect: bool = False,
    registry: Registry | None = None,
) -> Any:
    """
    Write a function of a list, call it with one item: calls that come close together share one call below.

    Calls with equal other arguments share a batch; methods batch per instance. A batch leaves when it is full,
    when it has reached `max_weight`, or `batch_timeout` after its first item. A caller that stays alone runs the
    function itself, with its own context and deadline. A shared batch runs in a task of its own, in the context
    variables of its first caller: a caller that is cancelled hurts nobody else, and when all have gone the batch
    is cancelled. There is nothing to start or to stop.

    An exception of the function goes to every caller of that batch, to each its own copy; an exception in the
    returned list goes to that item's caller only.

    Every event loop has batches of its own; the numbers in the registry are those of all.

    Args:
        name: Call sites of one name share queue, places and numbers. Default: the function's qualified name.
        batch_size: Most items in a batch. Default 10.
        batch_timeout: Seconds a batch waits for company, from its first item. Default 0.1. With 0, what is ready
            in this turn of the loop goes together.
        max_queue_size: Most items that wait to be sent, in each event loop. Default 1000.
        max_concurrency: Most batches in flight, in each event loop. Groups take turns; a batch that waits for its
            place takes more items meanwhile. Default None: no bound.
        group_by: Called with the call's arguments (the instance first, for a method); calls with equal results
            share a batch, and the arguments of the first go with it. Default: all arguments but the item.
        weight: Called with an item, gives its weight, tokens say. Needs `max_weight`.
        max_weight: Most weight in a batch. An item above it goes alone. Default None: no bound.
        deduplicate: Send equal items that wait or run only once; their callers get the same result. Default False.
        bisect: Halve a batch that fails with INVALID_REQUEST, CONTEXT_LENGTH or CONTENT_FILTER until the items at
            fault fail alone. Default False.
        registry: Where the numbers live. Default: `resilient_ai.registry`.

    Raises:
        QueueFullError: By the decorated function, at once: `max_queue_size` items wait already.
        BatchResultError: By the decorated function: the function below did not return one result per item.
        TypeError: At decoration: not an async function, or one that streams.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, BatchedPolicy(shared_name, config, where, group_by=group_by, weight=weight))

    bare = callable(name)
    shared_name = None if bare else name
    if (weight is None) != (max_weight is None):
        raise ValueError(f"weight and max_weight need each other, got weight={weight!r}, max_weight={max_weight!r}")
    for setting, value in (("group_by", group_by), ("weight", weight)):
        if value is not None and not callable(value):
            raise ValueError(f"{setting} must be a function or None, got {value!r}")
    config = BatchConfig(
        batch_size=batch_size,
        batch_timeout=batch_timeout,
        max_queue_size=max_queue_size,
        max_concurrency=max_concurrency,
        max_weight=max_weight,
        deduplicate=deduplicate,
        bisect=bisect,
    )
    return put_on(name) if bare else put_on
