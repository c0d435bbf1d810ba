"""The course of a call: it puts its item into a batch, and waits for the item's outcome or runs the batch itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from sys import modules
from typing import TYPE_CHECKING, Any, cast

from anyio.lowlevel import checkpoint_if_cancelled

from resilient_ai._core.call_facts import CallObservers, current_flag, watching
from resilient_ai._core.callers_deadline import current_deadline
from resilient_ai._core.errors import QueueFullError
from resilient_ai._core.events import CallRejected
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.tasks import Promise, current_loop, running_loop

from .deadlock import Enclosing, begin_wait, enclosing, enclosing_batches, end_wait, is_stuck
from .grouping import Grouping, comparable
from .loop_batches import SharedItem
from .queue import RUNNING, Batch, BatchQueue
from .results import Failure
from .runner import BatchRun, BatchRunner

if TYPE_CHECKING:
    from resilient_ai._core.handlers import Handler
    from resilient_ai._core.policy import Site
    from resilient_ai._core.state_store import StateStore

    from .config import BatchConfig
    from .handle import Batcher
    from .loop_batches import LoopBatches

_enclosing = enclosing.get
_Call = tuple[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]]  # function, instance, arguments


class CallSite:
    """
    A batched function, with `call` as its handler.

    Args:
        inner: The layer below.
        batcher: The state of this name.
        config: The settings.
        registry: Has the clock and the listeners.
        site: Which function this is.
        group_by: See `batched`.
        weight: See `batched`.
    """

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
        self._name = batcher.name
        self._per_loop = batcher._per_loop
        self._config = config
        self._registry = registry
        self._now = registry.clock.now
        self._group_by = group_by
        self._weight = weight
        self._function = site.function
        self._before = 0 if site.endpoint is None else 1  # a failover above hands in its endpoint first
        self._of_function = Grouping(site.signature, self._before)
        self._of_method = Grouping(site.signature, self._before + 1)
        self._default_hash = hash(self._of_function.default)
        self._groups_default = group_by is None and not self._before  # a call with one argument is in the default group
        self._one_call_per_item = not config.deduplicate
        self._waits_for_room = config.when_full == "wait"
        self._is_plain = weight is None and self._one_call_per_item
        self._bounded = config.max_concurrency is not None
        self._runner = BatchRunner(inner, batcher.name, config, registry, site, self._before)

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Most calls add the next item to an open batch. That case is written out here, because each look-up is paid
        # once per item; `_course` handles all other calls.
        loop = running_loop()
        if loop is None or "trio" in modules:
            loop = current_loop()
        batches = self._per_loop.latest
        if batches is None or batches.loop() is not loop:
            batches = self._per_loop.of(loop)
        group: Hashable
        if self._groups_default and instance is None and not kwargs and len(args) == 1:
            group, value = self, args[0]
        else:
            group, value, args, kwargs = self._split(instance, args, kwargs)
        promise = batches.promise(loop=loop)
        around = _enclosing()
        observed = watching() is not None or current_flag() is not None
        batch: Batch | None = None
        if self._is_plain and around is None and not observed and current_deadline() is None:
            batch = batches.queue.add_fast(group, value, promise)
        if batch is None:
            result = await self._course(
                loop, batches, group, value, promise, (fn, instance, args, kwargs), around, observed
            )
        else:
            try:
                if batch.run.scope is None:
                    self._runner.spawn(loop, batches, batch)
                result = await promise
            except BaseException:
                self._leave(batches, batch, promise)
                raise
        if type(result) is Failure:
            try:
                raise result.for_one_caller()
            finally:
                del promise, result  # error -> traceback -> this frame -> result -> error is a reference cycle
        return result

    async def _course(
        self,
        loop: Any,
        batches: LoopBatches,
        group: Hashable,
        value: Any,
        promise: Promise,
        call: _Call,
        around: Enclosing | None,
        observed: bool,
    ) -> Any:
        """Join a batch; then run it if nobody else joins, else wait for the outcome."""
        if around is not None and self._bounded:
            self._refuse_a_call_of_itself(batches, around)
        weight = 0.0 if self._weight is None else self._weight_of(value, self._weight)
        key = None if self._one_call_per_item else (group, comparable(value))
        batch, shared = self._join(batches, group, value, weight, key, promise, around)
        if batch is None:
            if self._waits_for_room:
                waiting = WaitingCall(self, loop, batches, group, value, weight, key, promise, around)
                waiting.run = BatchRun(*call)
                waiting.observers = CallObservers.here() if observed else None
                return await self._wait_for_room(waiting)
            await checkpoint_if_cancelled()  # a cancelled caller gets the cancellation, not QueueFullError
            raise self._refusal(batches)
        alone = False
        if batch.run is None:
            batch.run = BatchRun(*call)
            alone = self._one_call_per_item  # an equal item could join while the batch runs
        waiter = promise if shared is None else shared
        if observed:
            batch.run.observers.append((waiter, CallObservers.here()))
        if shared is not None or current_deadline() is not None:
            batch.run.deadlines.add(waiter, current_deadline())
        outer = around[0] if around is not None and around[0].phase is RUNNING else None
        try:
            try:
                if outer is not None:
                    self._wait_from_inside(outer, batch)
                if batch.run.scope is None and not alone:
                    self._runner.spawn(loop, batches, batch)
                if batches.queue.started:
                    batches.wake()
                if not alone or await self._runner.becomes_shared(loop, batches, batch):
                    return await promise
            except BaseException:
                self._leave(batches, batch, promise, shared)
                raise
            return await self._runner.run_alone(batches, batch, promise)
        finally:
            if outer is not None:
                end_wait(outer, batch)

    # -- joining

    def _split(
        self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Hashable, Any, tuple[Any, ...], dict[str, Any]]:
        """Group and item of a call, and its arguments with the item by position."""
        grouping = self._of_function if instance is None else self._of_method
        at = self._before
        if len(args) > at:
            value = args[at]
        elif grouping.item_name is not None and grouping.item_name in kwargs:
            kwargs = dict(kwargs)
            value = kwargs.pop(grouping.item_name)
            args = (*args, value)
        else:
            raise TypeError(f"{self._function} is called with one item, got none")
        key: Hashable
        if self._group_by is None:
            key = grouping.key(args[at + 1 :], kwargs) if len(args) > at + 1 or kwargs else grouping.default
        else:
            own = args[at:] if instance is None else (instance, *args[at:])
            key = comparable(self._group_by(*own, **kwargs))
        # Compare hashes first, as a dict does: `==` of some objects (arrays) raises.
        if instance is None and self._groups_default and hash(key) == self._default_hash and key == grouping.default:
            return self, value, args, kwargs
        # Two functions of one name share a queue, but never a batch.
        return (self, None if instance is None else id(instance), key), value, args, kwargs

    def _join(
        self,
        batches: LoopBatches,
        group: Hashable,
        value: Any,
        weight: float,
        key: Hashable,
        promise: Promise,
        around: Enclosing | None,
    ) -> tuple[Batch | None, SharedItem | None]:
        """The batch that has the item, None if the queue is full; and its sharers, if equal items are sent once."""
        if self._one_call_per_item:
            return batches.queue.add(group, value, promise, self._now(), weight), None
        shared = batches.shared_items.get(key)
        if shared is not None:
            self._refuse_an_item_of_its_own(shared, around)
            shared.join(promise)
            return shared.batch, shared
        shared = SharedItem(batches, key, promise)
        batch = batches.queue.add(group, value, shared, self._now(), weight)
        if batch is not None:
            shared.batch = batch
            batches.shared_items[key] = shared
        return batch, shared

    def _weight_of(self, value: Any, weigh: Callable[[Any], object]) -> float:
        weight = weigh(value)
        if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            # The value is shown only if it is a number: anything else may be the prompt.
            shown = repr(weight) if isinstance(weight, int | float) else kind_of(weight)
            raise ValueError(f"weight= of {self._function} must give a number of at least 0, got {shown}")
        return float(weight)

    def _leave(self, batches: LoopBatches, batch: Batch, promise: Promise, shared: SharedItem | None = None) -> None:
        last = batches.queue.leave(batch, promise) if shared is None else shared.leave(promise)
        if batches.is_closed():
            return
        if last:
            self._runner.abandon(batches, batch)
        batches.wake()  # there may be room for others

    # -- waiting for room

    async def _wait_for_room(self, waiting: WaitingCall) -> Any:
        """Wait until `LoopBatches.wake` lets the call in; then wait for the outcome."""
        queue, outer = waiting.batches.queue, waiting.outer
        queue.wait_for_room(waiting)
        try:
            if outer is not None:
                self._wait_from_inside(outer, queue)
            return await waiting.promise
        except BaseException:
            if waiting.batch is None:
                queue.stop_waiting(waiting)
            else:
                self._leave(waiting.batches, waiting.batch, waiting.promise, waiting.shared)
            raise
        finally:
            if outer is not None:
                end_wait(outer, queue if waiting.batch is None else waiting.batch)

    def let_in(self, waiting: WaitingCall) -> None:
        """Put the item of a waiting call into a batch, now that there is room; `wake` does it for the caller."""
        batches, outer = waiting.batches, waiting.outer
        if waiting.promise.done():  # its caller was cancelled, and has not run since
            batches.queue.stop_waiting(waiting)
            return
        batches.queue.let_in(waiting)
        try:
            joined, shared = self._join(
                batches, waiting.group, waiting.value, waiting.weight, waiting.key, waiting.promise, waiting.around
            )
            batch = cast("Batch", joined)  # the queue is not full
            waiting.batch, waiting.shared = batch, shared
            if batch.run is None:
                batch.run = waiting.run
            waiter = waiting.promise if shared is None else shared
            if waiting.observers is not None:
                batch.run.observers.append((waiter, waiting.observers))
            if shared is not None or waiting.deadline is not None:
                batch.run.deadlines.add(waiter, waiting.deadline)
            if outer is not None:
                end_wait(outer, batches.queue)
                self._wait_from_inside(outer, batch)
            if batch.run.scope is None:
                self._runner.spawn(waiting.loop, batches, batch)
        except Exception as error:  # noqa: BLE001 - it goes to the caller
            if waiting.batch is not None:
                self._leave(batches, waiting.batch, waiting.promise, waiting.shared)
            waiting.promise.set_result(Failure(error, shared=False))

    # -- refusals

    def _refusal(self, batches: LoopBatches) -> QueueFullError:
        batches.queue.counters.rejected += 1
        if self._registry.hears(CallRejected):
            self._registry.emit(CallRejected(self._name, "queue_full", None))
        return QueueFullError(self._name, max_queue_size=self._config.max_queue_size)

    def _refuse_a_call_of_itself(self, batches: LoopBatches, around: Enclosing) -> None:
        if any(batch in batches.queue.running for batch in enclosing_batches(around)):
            raise RuntimeError(
                f"{self._function} calls itself from inside one of its batches, and would wait for a slot"
                " that this batch holds; call the undecorated function, or set max_concurrency=None"
            )

    def _refuse_an_item_of_its_own(self, shared: SharedItem, around: Enclosing | None) -> None:
        if any(batch is shared.batch for batch in enclosing_batches(around)):
            raise RuntimeError(
                f"{self._function} asks itself for an item that it is already working on, and would wait for ever"
            )

    def _wait_from_inside(self, outer: Batch, other: Batch | BatchQueue) -> None:
        """Note that the batch around this call waits for the one the call has joined; refuse a wait that cannot end."""
        begin_wait(outer, other)
        if is_stuck(outer):
            raise RuntimeError(
                f"{self._function} is called from inside a batch of a function whose slot its own batches wait for,"
                " and both would wait for ever; raise max_concurrency of one, or call the undecorated function"
            )


class WaitingCall:
    """
    A call that waits for room in the queue, with everything needed to put its item into a batch.

    Attributes:
        run: What the batch needs to run, if this item is its first.
        observers: The observers of the call; None without any.
        outer: The batch around the call; None for a call from outside all batches.
        deadline: The caller's deadline.
        batch: The batch that has the item; None while the call waits for room.
        shared: The callers with the same item, if equal items are sent once.
    """

    __slots__ = (
        "around",
        "batch",
        "batches",
        "deadline",
        "group",
        "key",
        "loop",
        "observers",
        "outer",
        "promise",
        "run",
        "shared",
        "site",
        "value",
        "weight",
    )

    def __init__(
        self,
        site: CallSite,
        loop: Any,
        batches: LoopBatches,
        group: Hashable,
        value: Any,
        weight: float,
        key: Hashable,
        promise: Promise,
        around: Enclosing | None,
    ) -> None:
        self.site = site
        self.loop = loop
        self.batches = batches
        self.group = group
        self.value = value
        self.weight = weight
        self.key = key
        self.promise = promise
        self.around = around
        self.outer = around[0] if around is not None and around[0].phase is RUNNING else None
        self.run: BatchRun
        self.observers: CallObservers | None = None
        self.deadline = current_deadline()
        self.batch: Batch | None = None
        self.shared: SharedItem | None = None

    def enter(self) -> None:
        """There is room in the queue."""
        self.site.let_in(self)
