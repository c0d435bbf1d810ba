"""The course of a batch: its task waits until it may start, calls the function, and gives each caller its outcome."""

from __future__ import annotations

import contextvars
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._core.call_facts import CallObservers
from resilient_ai._core.callers_deadline import current_deadline, set_deadline
from resilient_ai._core.errors import BatchResultError
from resilient_ai._core.measurements import BATCH_SIZE, BATCH_WAIT, Series
from resilient_ai._core.observers import made_for
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.scopes import move_on_after
from resilient_ai._core.state_name import part_of
from resilient_ai._core.streams import dispose
from resilient_ai._core.tasks import Promise, next_turn, spawn

from .deadline import BatchDeadline, CallersDeadlines
from .deadlock import enclosing
from .events import BatchSent
from .queue import ENDED, FILLING, RUNNING, Batch
from .results import Failure, checked_results, outcome

if TYPE_CHECKING:
    from resilient_ai._core.handlers import Handler
    from resilient_ai._core.policy import Site
    from resilient_ai._core.state_store import StateStore

    from .config import BatchConfig
    from .loop_batches import LoopBatches

# Errors that one bad item can cause for its whole batch. Never a rate limit: sending halves would add to it.
POISON = frozenset(kind for kind, row in ERROR_TYPES.items() if row.bisect)


class BatchRun:
    """
    What a batch needs to run: the call of its first caller, and the task that runs the batch if it is shared.

    Args:
        fn: The decorated function.
        instance: What it is bound to, or None.
        args: Positional arguments, with the first caller's item where the list goes.
        kwargs: Keyword arguments.

    Attributes:
        context: The first caller's context variables.
        joined: The first caller waits here while it is alone.
        start: The task waits here until the batch may start.
        scope: The cancel scope of the task; None while there is no task.
        observers: The observers of the call, each with the waiter it came with.
        deadlines: The deadlines of the callers.
    """

    __slots__ = (
        "args",
        "context",
        "deadlines",
        "fn",
        "instance",
        "joined",
        "kwargs",
        "observers",
        "scope",
        "start",
        "task",
    )

    def __init__(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn = fn
        self.instance = instance
        self.args = args
        self.kwargs = kwargs
        self.context = contextvars.copy_context()
        self.joined: Promise | None = None
        self.start: Promise | None = None
        self.scope: anyio.CancelScope | None = None
        self.task: object = None
        self.observers: list[tuple[Any, CallObservers]] = []
        self.deadlines = CallersDeadlines()

    def wake(self) -> None:
        """Wake the task that is to run the batch, which has started."""
        for promise in (self.start, self.joined):
            if promise is not None and not promise.done():
                promise.set_result(None)

    def tell(self, waiters: list[Any], facts: CallObservers | None) -> None:
        """Tell the observers of these waiters what happened in the call made for them."""
        if facts is not None:
            for waiter, observers in self.observers:
                if waiter in waiters:
                    observers.take_over(facts)


class BatchRunner:
    """
    Runs the batches of one call site.

    Args:
        inner: The layer below.
        name: Name of the batcher.
        config: The settings.
        registry: Has the clock and the listeners.
        site: The call site.
        before: Number of arguments before the item.
    """

    def __init__(
        self, inner: Handler, name: str, config: BatchConfig, registry: StateStore, site: Site, before: int
    ) -> None:
        self._inner = inner
        self._name = name
        self._registry = registry
        self._clock = registry.clock
        self._now = registry.clock.now
        self._function = site.function
        self._before = before
        self._bisect = config.bisect
        self._bounded = config.max_concurrency is not None

    # -- a caller alone

    async def becomes_shared(self, loop: Any, batches: LoopBatches, batch: Batch) -> bool:
        """Wait in the first caller's task until the batch starts; whether others have joined it."""
        run: BatchRun = batch.run
        if batch.phase is FILLING:
            await next_turn(loop)
        if batch.phase is FILLING and run.scope is None and (left := batch.due - self._now()) > 0:
            run.joined = batches.promise(loop=loop)
            with move_on_after(self._clock, left):
                await run.joined
        if batch.phase is FILLING and run.scope is None:
            batches.queue.time_is_over(batch, self._now())
            batches.wake()
        if batch.phase is not RUNNING and run.scope is None:
            self.spawn(loop, batches, batch)  # others can join until it may start
        return run.scope is not None

    async def run_alone(self, batches: LoopBatches, batch: Batch, promise: Promise) -> Any:
        """Run the batch in its only caller's task, with that caller's context, deadline and cancellation."""
        queue = batches.queue
        # Without a bound no batch waits for this one's slot: calls from inside it count for the batch around it.
        token = enclosing.set((batch, enclosing.get())) if self._bounded else None
        try:
            [result] = await self._send(batch, [batch.items[promise]])
            result = outcome(result, self._function, shared=False)
            failed = type(result) is Failure
            queue.settle(batch, [promise], failed=failed)
            if failed:
                raise result.error
            return result
        except Exception:
            result = None  # clear the local: result -> error -> traceback -> this frame is a reference cycle
            queue.settle(batch, [promise], failed=True)  # does nothing if it was settled above
            raise
        except BaseException:
            queue.leave(batch, promise)
            raise
        finally:
            if token is not None:
                with suppress(ValueError):  # garbage-collected with its closed loop, in another context
                    enclosing.reset(token)
            self._end(batches, batch)

    # -- a shared batch

    def spawn(self, loop: Any, batches: LoopBatches, batch: Batch) -> None:
        """Start the task of a batch that other callers have joined, or may join."""
        run: BatchRun = batch.run
        scope = run.scope = anyio.CancelScope()
        if run.joined is not None and not run.joined.done():
            run.joined.set_result(None)
        run.task = spawn(
            loop, partial(self._run, loop, batches, batch, scope), run.context, partial(self._end, batches, batch)
        )

    def abandon(self, batches: LoopBatches, batch: Batch) -> None:
        """End a batch that nobody waits for any more."""
        run: BatchRun = batch.run
        if run.scope is not None:
            run.scope.cancel()  # ends the task, which ends the batch
        else:
            self._end(batches, batch)

    async def _run(self, loop: Any, batches: LoopBatches, batch: Batch, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._until_started(loop, batches, batch)
                enclosing.set((batch, enclosing.get()))
                if (first := current_deadline()) is not None:  # the first caller's, one of several
                    set_deadline(BatchDeadline(batch, batch.run.deadlines, first) if batch.run.deadlines else None)
                await self._send_all(batches, batch)
        except GeneratorExit:
            raise  # the loop is gone
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - trio takes what leaves a system task for a bug of its own
            self._fail(batches, batch, list(batch.items), error)

    async def _until_started(self, loop: Any, batches: LoopBatches, batch: Batch) -> None:
        run: BatchRun = batch.run
        if batch.phase is FILLING:
            if (left := batch.due - self._now()) > 0:
                run.start = batches.promise(loop=loop)
                with move_on_after(self._clock, left):
                    await run.start
            if batch.phase is FILLING:
                batches.queue.time_is_over(batch, self._now())
                batches.wake()
        if batch.phase is not RUNNING:
            run.start = batches.promise(loop=loop)
            await run.start

    async def _send_all(self, batches: LoopBatches, batch: Batch) -> None:
        """Send the items of a batch; with `bisect`, halve failed parts until the items at fault fail alone."""
        waiters, items = list(batch.items), list(batch.items.values())
        halves: list[list[Any]] = []  # waiters whose items are to be sent again
        while True:
            if waiters and not await self._send_and_settle(batches, batch, waiters, items):
                middle = len(waiters) // 2
                halves += waiters[middle:], waiters[:middle]
            if not halves:
                return
            waiters = [waiter for waiter in halves.pop() if waiter in batch.items]
            items = [batch.items[waiter] for waiter in waiters]

    async def _send_and_settle(self, batches: LoopBatches, batch: Batch, waiters: list[Any], items: list[Any]) -> bool:
        """Give each of these waiters its outcome; False if the items have to be sent again in halves."""
        run: BatchRun = batch.run
        # The facts about this call go to the observers of these waiters. The task has the first caller's context, but
        # that caller's observers must not be told about calls for others.
        facts = CallObservers.anew() if run.observers else None
        if facts is not None:
            callers = (observers.following for waiter, observers in run.observers if waiter in waiters)
            made_for.set(tuple(each for each in callers if each is not None))
        try:
            results = await self._send(batch, items)
        except Exception as error:  # noqa: BLE001 - it goes to the callers
            run.tell(waiters, facts)
            if len(waiters) > 1 and self._bisect and classify(error).error_type in POISON:
                return False
            self._fail(batches, batch, waiters, error)
        else:
            run.tell(waiters, facts)
            self._settle(batches, batch, waiters, results)
        return True

    async def _send(self, batch: Batch, items: list[Any]) -> Sequence[Any]:
        if self._registry.hears(BatchSent):
            self._registry.emit(BatchSent(self._name, len(items), self._now() - batch.since))
        if (measurements := self._registry.measurements) is not None:
            call_site = part_of(self._name, "call_site")
            measurements.add(Series(BATCH_SIZE, call_site), len(items))
            measurements.add(Series(BATCH_WAIT, call_site), self._now() - batch.since)
        run: BatchRun = batch.run
        at, args = self._before, run.args
        count = len(items)  # the function may change the list
        results = await self._inner(run.fn, run.instance, (*args[:at], items, *args[at + 1 :]), run.kwargs)
        if type(results) is ReturnedStream:  # it looks like a list
            await dispose(results)
            raise BatchResultError(f"{self._function} must return a list with one result per item, got a stream")
        return checked_results(results, count, self._function)

    def _settle(self, batches: LoopBatches, batch: Batch, waiters: list[Any], results: Sequence[Any]) -> None:
        if any(issubclass(kind, BaseException) for kind in set(map(type, results))):
            results = self._settle_failed(batches, batch, waiters, results)
        batches.queue.settle(batch, waiters)
        for waiter, result in zip(waiters, results, strict=True):
            if not waiter.done():
                waiter.set_result(result)

    def _settle_failed(
        self, batches: LoopBatches, batch: Batch, waiters: list[Any], results: Sequence[Any]
    ) -> list[Any]:
        """Count the items whose result is an exception, and return the outcomes of all."""
        times = Counter(map(id, results))  # an exception that stands twice in the list goes to two callers
        outcomes = [outcome(result, self._function, shared=times[id(result)] > 1) for result in results]
        failed = [waiter for waiter, each in zip(waiters, outcomes, strict=True) if type(each) is Failure]
        batches.queue.settle(batch, failed, failed=True)
        return outcomes

    def _fail(self, batches: LoopBatches, batch: Batch, waiters: list[Any], error: BaseException) -> None:
        failure = Failure(error, shared=len(waiters) > 1)
        batches.queue.settle(batch, waiters, failed=True)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(failure)
        waiters.clear()  # waiters -> failure -> error -> traceback -> frame -> waiters is a reference cycle

    def _end(self, batches: LoopBatches, batch: Batch) -> None:
        """End a batch, well or not: the next one may start, and nobody may still wait for this one."""
        if batch.phase is ENDED:
            return
        lost = batches.queue.finish(batch, self._now())
        batch.run = None  # batch -> run -> task and context -> batch is a reference cycle
        if batches.is_closed():
            return
        if lost:
            message = f"a batch of {self._function} was cancelled, but not by its callers"
            self._fail(batches, batch, lost, BatchResultError(message))
        batches.wake()
