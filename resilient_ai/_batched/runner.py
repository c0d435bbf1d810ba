"""Where the calls of one call site are put into batches, and from where the batches leave."""

from __future__ import annotations

import contextvars
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from sys import modules
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._core.errors import BatchResultError, QueueFullError
from resilient_ai._core.events import CallRejected
from resilient_ai._core.tasks import Promise, current_loop, next_turn, running_loop, spawn
from resilient_ai._core.watch import CallObservers, current_flag, watching

from .events import BatchSent
from .grouping import Grouping, frozen, hashable
from .handle import Batcher, Crowd, Lane
from .queue import ENDED, FILLING, RUNNING, Batch, BatchConfig
from .results import Failure, checked_results, dealt

if TYPE_CHECKING:
    from resilient_ai._core.handlers import Handler
    from resilient_ai._core.policy import Site
    from resilient_ai._core.state_store import StateStore

# Errors that one bad item can cause for its whole batch. Never a rate limit: halves would only add to it.
POISON = frozenset(kind for kind, row in ERROR_TYPES.items() if row.bisect)

# The batches that the running code is part of, innermost first.
_inside: contextvars.ContextVar[tuple[Batch, Any] | None] = contextvars.ContextVar("resilient_ai.batch", default=None)


class _Trip:
    """What a batch needs to run: the call of its first caller, and the task that runs it once it is shared."""

    __slots__ = ("args", "company", "context", "fn", "go", "instance", "kwargs", "observers", "scope", "task")

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
        self.observers: list[tuple[Any, CallObservers]] = []  # each with whoever waits in the batch for it


class Station:
    """The batches of one call site, as a handler: `call`."""

    def __init__(
        self,
        inner: Handler,
        batcher: Batcher,
        config: BatchConfig,
        registry: StateStore,
        site: Site,
        *,
        group_by: Callable[..., object] | None,
        weight: Callable[[Any], float] | None,
    ) -> None:
        self.inner = inner
        self.batcher = batcher
        self.config = config
        self.registry = registry
        self.clock = registry.clock
        self.now = registry.clock.now
        self.group_by = group_by
        self.weight = weight
        self.function = site.function
        self.before = 0 if site.endpoint is None else 1  # a failover above hands in its endpoint first
        self.of_function = Grouping(site.signature, self.before)
        self.of_method = Grouping(site.signature, self.before + 1)
        # Calls with nothing but an item. Two functions may share a name, and so a queue, but never a batch.
        self.usual = self.group_by is None and not self.before
        self.usual_hash = hash(self.of_function.default)
        self.plain = not self.config.deduplicate
        self.bounded = self.config.max_concurrency is not None

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # The way of most calls, into an open batch, is written out here: every look-up is paid once per item.
        loop = running_loop()
        if loop is None or "trio" in modules:
            loop = current_loop()
        lane = self.batcher.recent
        if lane is None or lane.loop() is not loop:
            lane = self.batcher.lane(loop)
        line = lane.line
        group: Hashable
        if self.usual and instance is None and not kwargs and len(args) == 1:
            group, value = self, args[0]
        else:
            group, value, args, kwargs = self._parted(instance, args, kwargs)
        inside = _inside.get()
        if inside is not None and self.bounded:
            self._refuse_a_deadlock(lane)
        own = lane.promise(loop=loop)
        crowd: Crowd | None = None
        alone = False
        batch = line.squeeze_in(group, value, own) if self.plain else None
        if batch is None:
            batch, crowd = self._join(lane, group, value, own)
            if batch is None:
                await checkpoint_if_cancelled()  # a cancelled caller hears of that, not of the queue
                raise self._refusal()
            if batch.cargo is None:
                batch.cargo = _Trip(fn, instance, args, kwargs)
                alone = self.plain  # an equal item may come while it runs
        trip: _Trip = batch.cargo
        if watching() is not None or current_flag() is not None:
            trip.observers.append((own if crowd is None else crowd, CallObservers.here()))
        outer = inside[0] if inside is not None and inside[0].phase is RUNNING else None
        try:
            try:
                if outer is not None:
                    self._wait_from_inside(outer, batch)
                if trip.scope is None and not alone:
                    self._spawn(loop, lane, batch, trip)
                if line.started:
                    _launch(lane)
                inline = alone and await self._stays_alone(loop, lane, batch, trip)
                result = None if inline else await own
            except BaseException:
                left = line.leave(batch, own) if crowd is None else lane.leave(batch, crowd, own)
                if left and not lane.is_closed():
                    self._abandon(lane, batch, trip)
                raise
            if inline:
                return await self._run_inline(lane, batch, own, trip)
        finally:
            if outer is not None:
                outer.wait_no_more(batch)
        if type(result) is Failure:
            try:
                raise result.for_one_caller()
            finally:
                del own, result  # the error's traceback holds this frame, which held the error
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
        # Equal as a dict would see it: some things raise when they are compared for no reason.
        if instance is None and self.usual and hash(key) == self.usual_hash and key == grouping.default:
            return self, value, args, kwargs
        return (self, None if instance is None else id(instance), key), value, args, kwargs

    def _join(self, lane: Lane, group: Hashable, value: Any, own: Promise) -> tuple[Batch | None, Crowd | None]:
        """The batch, None when the queue is full; and whoever wants an equal item, if those are sent once."""
        weight = 0.0
        if self.weight is not None:
            weight = self.weight(value)
            if not _is_weight(weight):
                raise ValueError(f"weight= of {self.function} must give a number of at least 0, got {_shown(weight)}")
        if self.plain:
            return lane.line.join(group, value, own, self.now(), weight), None
        twin = group, frozen(value)
        crowd = lane.crowds.get(twin)
        if crowd is not None:
            if any(crowd.batch is batch for batch in _batches_inside()):
                raise RuntimeError(
                    f"{self.function} asks itself for an item that it is at work on, and would wait for ever"
                )
            crowd.promises.append(own)
            lane.line.ledger.shared += 1
            return crowd.batch, crowd
        crowd = Crowd(lane, twin, own)
        batch = lane.line.join(group, value, crowd, self.now(), weight)
        if batch is not None:
            crowd.batch = batch
            lane.crowds[twin] = crowd
        return batch, crowd

    def _refusal(self) -> QueueFullError:
        if self.registry.listening:
            self.registry.emit(CallRejected(self.batcher.name, "queue_full", None))
        return QueueFullError(self.batcher.name, max_queue_size=self.config.max_queue_size)

    def _refuse_a_deadlock(self, lane: Lane) -> None:
        if any(batch in lane.line.running for batch in _batches_inside()):
            raise RuntimeError(
                f"{self.function} calls itself from inside one of its batches, and would wait for a place"
                " that this batch holds; call the undecorated function, or set max_concurrency=None"
            )

    def _wait_from_inside(self, outer: Batch, batch: Batch) -> None:
        """Let the batch that this call is made from wait for the one it has joined, if that can end."""
        outer.wait_for(batch)
        if outer.is_stuck:
            raise RuntimeError(
                f"{self.function} is called from inside a batch of a function whose place its own batches wait for,"
                " and both would wait for ever; raise max_concurrency of one, or call the undecorated function"
            )

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

    async def _run_inline(self, lane: Lane, batch: Batch, own: Promise, trip: _Trip) -> Any:
        """The caller runs its own call: own context, own deadline, own cancellation."""
        line = lane.line
        # Without a bound it is a part of whatever the caller is inside of: nobody else waits for it.
        token = _inside.set((batch, _inside.get())) if self.bounded else None
        try:
            [result] = await self._send(trip, batch, [batch.items[own]])
            result = dealt(result, self.function, shared=False)
            failed = type(result) is Failure
            line.settle(batch, [own], failed=failed)
            if failed:
                raise result.error
            return result
        except Exception:
            result = None  # as in `call`
            line.settle(batch, [own], failed=True)  # unless it was settled
            raise
        except BaseException:
            line.leave(batch, own)
            raise
        finally:
            if token is not None:
                with suppress(ValueError):  # collected with its closed loop, in somebody else's context
                    _inside.reset(token)
            self._end(lane, batch)

    # -- in company

    def _spawn(self, loop: Any, lane: Lane, batch: Batch, trip: _Trip) -> None:
        scope = trip.scope = anyio.CancelScope()
        if trip.company is not None and not trip.company.done():
            trip.company.set_result(None)
        trip.task = spawn(
            loop, partial(self._run, loop, lane, batch, trip, scope), trip.context, partial(self._end, lane, batch)
        )

    async def _run(self, loop: Any, lane: Lane, batch: Batch, trip: _Trip, scope: anyio.CancelScope) -> None:
        """The task of a shared batch: wait until it may leave, call, and deal out."""
        try:
            with scope:
                await self._departure(loop, lane, batch, trip)
                _inside.set((batch, _inside.get()))
                await self._send_and_deal(lane, batch, list(batch.items), list(batch.items.values()))
        except GeneratorExit:
            raise  # the loop is gone
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - trio takes what leaves a system task for a bug of its own
            self._fail(lane, batch, list(batch.items), error)

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

    async def _send_and_deal(self, lane: Lane, batch: Batch, waiters: list[Any], items: list[Any]) -> None:
        trip: _Trip = batch.cargo
        # Each caller hears of the calls made for it, and the first, whose context this is, of no others.
        own = CallObservers.anew() if trip.observers else None
        try:
            results = await self._send(trip, batch, items)
        except Exception as error:  # noqa: BLE001 - it goes to the callers
            _tell(trip, waiters, own)
            if len(waiters) == 1 or not self.config.bisect or classify(error).error_type not in POISON:
                self._fail(lane, batch, waiters, error)
                return
        else:
            _tell(trip, waiters, own)
            self._deal(lane, batch, waiters, results)
            return
        middle = len(waiters) // 2
        for half in (waiters[:middle], waiters[middle:]):
            if wanted := [waiter for waiter in half if waiter in batch.items]:
                await self._send_and_deal(lane, batch, wanted, [batch.items[waiter] for waiter in wanted])

    async def _send(self, trip: _Trip, batch: Batch, items: list[Any]) -> Sequence[Any]:
        if self.registry.listening:
            self.registry.emit(BatchSent(self.batcher.name, len(items), self.now() - batch.since))
        at, args = self.before, trip.args
        count = len(items)
        results = await self.inner(trip.fn, trip.instance, (*args[:at], items, *args[at + 1 :]), trip.kwargs)
        return checked_results(results, count, self.function)

    def _deal(self, lane: Lane, batch: Batch, waiters: list[Any], results: Sequence[Any]) -> None:
        if any(issubclass(kind, BaseException) for kind in set(map(type, results))):
            results = self._settle_failed(lane, batch, waiters, results)
        lane.line.settle(batch, waiters)
        for waiter, result in zip(waiters, results, strict=True):
            if not waiter.done():
                waiter.set_result(result)

    def _settle_failed(self, lane: Lane, batch: Batch, waiters: list[Any], results: Sequence[Any]) -> list[Any]:
        """The results with failures for exceptions; an exception that is there twice is copied."""
        times = Counter(map(id, results))
        outcomes = [dealt(result, self.function, shared=times[id(result)] > 1) for result in results]
        failed = [waiter for waiter, outcome in zip(waiters, outcomes, strict=True) if type(outcome) is Failure]
        lane.line.settle(batch, failed, failed=True)
        return outcomes

    def _fail(self, lane: Lane, batch: Batch, waiters: list[Any], error: BaseException) -> None:
        failure = Failure(error, shared=len(waiters) > 1)
        lane.line.settle(batch, waiters, failed=True)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(failure)
        waiters.clear()  # the error's traceback holds the frame that held them, and they hold the error

    # -- ends

    def _abandon(self, lane: Lane, batch: Batch, trip: _Trip) -> None:
        """Nobody waits for the batch any more."""
        if trip.scope is not None:
            trip.scope.cancel()  # its task ends, and ends the batch
        else:
            self._end(lane, batch)

    def _end(self, lane: Lane, batch: Batch) -> None:
        """The batch is over, whichever way: free its place, and let nobody wait for nothing."""
        if batch.phase is ENDED:
            return
        lost = lane.line.finish(batch, self.now())
        batch.cargo = None  # its task and its context know the batch
        if lane.is_closed():
            return
        if lost:
            said = f"a batch of {self.function} was cancelled, but not by its callers"
            self._fail(lane, batch, lost, BatchResultError(said))
        _launch(lane)


def _tell(trip: _Trip, waiters: list[Any], facts: CallObservers | None) -> None:
    if facts is not None:
        for waiter, observers in trip.observers:
            if waiter in waiters:
                observers.take_over(facts)


def _batches_inside() -> Iterator[Batch]:
    """The batches whose functions are at work here, innermost first."""
    inside = _inside.get()
    while inside is not None:
        yield inside[0]
        inside = inside[1]


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
