"""
Timeouts of calls: a call that takes longer than its function's timeout is cancelled and raises `CallTimeoutError`.

On asyncio, in real time, all calls through one layer share a queue. They have the same timeout, so the call that came
first is due first: a call costs one entry in a dict, and one timer of the loop watches the head of the queue. That is
a fifth of what `asyncio.timeout` costs and a tenth of `anyio.fail_after`. Everywhere else the clock's own scopes do it.


The wait for an item of a stream may be renewed: a stream that is alive but has no item for its consumer (a reasoning
model) reports that by `renew_waits`.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - the shortcut is asyncio's; on trio the clock's scopes are used
import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from sys import modules
from threading import get_ident
from typing import TYPE_CHECKING, Any

import anyio

from .backend import in_task, in_trio, tell_scopes
from .callers_deadline import current_deadline
from .deadline_queue import DeadlineQueue, busy, forget
from .errors import CallTimeoutError, mark_if_wrong_call
from .forks import start_over_after_fork
from .patience import scope_seconds_left, task_seconds_left
from .per_loop import PerLoop
from .readers import readers
from .scopes import move_on_after, put_off
from .tasks import current_task, ended_by_us, running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clock import Clock
    from .handlers import Handler


def bounded(
    inner: Handler,
    seconds: float,
    clock: Clock,
    name: str,
    *,
    renewal: float | None = None,
    items: bool = False,
    timed_out: Callable[[], None] | None = None,
) -> Handler:
    """
    A handler that cancels `inner` after so many seconds.

    Args:
        inner: The handler that runs the call.
        seconds: Most seconds that the call may take.
        clock: The clock.
        name: The name in the error.
        renewal: For streams: seconds that a wait may take after the latest sign of life. Default: waits are not
            renewed. A call is renewed only if it belongs to an `Opens` and turns out to open a stream.
        items: Whether the handler waits for items, so that a sign of life renews every wait.
        timed_out: Called for each call that timed out, to count it.

    Returns:
        A handler that raises `CallTimeoutError` when the time is over. A cancellation from outside passes through,
        even if both come at the same time.
    """

    bound = _Bounded(inner, seconds, clock, name, renewal, items, timed_out)
    return bound.queued if getattr(clock, "real", False) else bound.scoped


class _Bounded:
    """`bounded` returns a method of this class: closures would need three times the memory for every function."""

    __slots__ = (
        "__weakref__",
        "_clock",
        "_inner",
        "_items",
        "_name",
        "_queues",
        "_renewal",
        "_timed_out",
        "latest",
        "seconds",
    )

    def __init__(
        self,
        inner: Handler,
        seconds: float,
        clock: Clock,
        name: str,
        renewal: float | None,
        items: bool,
        timed_out: Callable[[], None] | None,
    ) -> None:
        self._inner = inner
        self.seconds = seconds
        self._clock = clock
        self._name = name
        self._renewal = renewal
        self._items = items
        self._timed_out = timed_out
        self._queues: PerLoop[DeadlineQueue] | None = None  # made for the first call: many functions are never called
        self.latest: DeadlineQueue | None = None  # the latest queue, if its loop tells in which thread it runs

    def __del__(self) -> None:
        """Stop the timers of a function that no longer exists."""
        if self._queues is not None and busy is not None:  # `busy` is None while the interpreter shuts down
            for queue in self._queues.every():
                queue.give_up()

    def _after_fork(self) -> None:
        """In a forked child: no loop of the parent runs, whatever thread it reports."""
        self._queues = self.latest = None

    async def scoped(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call within a scope of the clock."""
        seconds, renewal, wait = self.seconds, self._renewal, None
        with move_on_after(self._clock, seconds) as scope:
            if renewal is None:
                result = await self._inner(fn, instance, args, kwargs)
            else:
                with _renewable(wait := _Wait(scope, self._clock, seconds, renewal, fn, self._items)):
                    result = await self._inner(fn, instance, args, kwargs)
        if scope.cancelled_caught:
            raise self._over(seconds if wait is None else wait.seconds)
        return result

    def _over(self, seconds: float) -> CallTimeoutError:
        if self._timed_out is not None:
            self._timed_out()
        return CallTimeoutError(self._name, timeout_seconds=seconds)

    def _queue_of(self, loop: asyncio.AbstractEventLoop) -> DeadlineQueue:
        # If two threads each make one, calls in the replaced one stay there until they end.
        if self._queues is None:
            self._queues = PerLoop(partial(DeadlineQueue, self.seconds, self._renewal, self._items), forget)
            start_over_after_fork(self)
        queue = self._queues.of(loop)
        self.latest = queue if hasattr(loop, "_thread_id") else None
        return queue

    async def queued(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call in the queue of the running loop, if it is an asyncio loop."""
        loop = running_loop()
        task = current_task(loop) if loop is not None else None
        if loop is None or task is None or in_trio():
            return await self.scoped(fn, instance, args, kwargs)
        queue = self._queues.latest if self._queues is not None else None
        if queue is None or queue.loop is not loop:
            queue = self._queue_of(loop)
        calls = queue.calls
        if task in calls:  # a call inside a call: the outer one is due first
            return await self._inner(fn, instance, args, kwargs)
        if task in queue.expired:  # this call belongs to the clean-up of one that timed out
            return await self.scoped(fn, instance, args, kwargs)
        calls[task] = queue.now() + self.seconds, task.cancelling(), fn
        if queue.timer is None:
            queue.watch()
        try:
            result = await self._inner(fn, instance, args, kwargs)
        except BaseException as error:
            if calls.pop(task, None) is None:
                await self.failed_late(queue, task, fn, error)
            raise
        if calls.pop(task, None) is None:
            _answered_late(queue, task, fn)
        return result

    async def failed_late(self, queue: DeadlineQueue, task: asyncio.Task[Any], fn: Any, error: BaseException) -> None:
        """Raise in place of an error if it came because the time was over."""
        if (late := queue.leave(task, fn)) is None:
            return
        if _was_only_us(late, task, error):
            raise self._over(late.seconds) from error
        await tell_scopes(error)


def seconds_of(run: Handler) -> float:
    """Seconds that `bounded` allows a call; inf for any other handler."""
    bound = getattr(run, "__self__", None)
    return bound.seconds if type(bound) is _Bounded else math.inf


def call_within(run: Handler, function: Callable[..., Any], now: Callable[[], float]) -> Callable[..., Any]:
    """
    A function that calls another one within a timeout, for the fast path.

    Args:
        run: The handler that `bounded` made from `call_plainly`, or another handler.
        function: The function to call, whose arguments are passed as a tuple and a dict, and then when the call began,
            if that is known.
        now: The clock by which that is known.
    """
    bound = getattr(run, "__self__", None)
    if type(bound) is not _Bounded or run != bound.queued:
        return lambda args, kwargs, _began=None: run(function, None, args, kwargs)

    async def called(args: tuple[Any, ...], kwargs: dict[str, Any], began: float | None = None) -> Any:
        # `queued` written out, which would be three calls. The thread shows that the latest queue's loop is the
        # running one: asking for the running loop is a system call in Python 3.11, which costs four bare awaits.
        queue = bound.latest
        if (
            queue is None
            or queue.loop._thread_id != get_ident()  # type: ignore[attr-defined]  # `latest` has one
            or (task := current_task(queue.loop)) is None
            or ("trio" in modules and in_trio())
            or task in (calls := queue.calls)
            or (queue.expired and task in queue.expired)
        ):
            return await bound.queued(function, None, args, kwargs)
        if began is None or queue.now is not now:
            began = queue.now()
        calls[task] = began + queue.seconds, task.cancelling(), function
        if queue.timer is None:
            queue.watch()
        try:
            result = await (function(*args, **kwargs) if kwargs else function(*args))
        except BaseException as error:
            mark_if_wrong_call(error)
            if calls.pop(task, None) is None:
                await bound.failed_late(queue, task, function, error)
            raise
        try:
            del calls[task]  # quicker than a method
        except KeyError:
            _answered_late(queue, task, function)
        return result

    return called


def _answered_late(queue: DeadlineQueue, task: asyncio.Task[Any], fn: Any) -> None:
    """Undo the timeout of a call that has been answered although its time was over."""
    if (late := queue.leave(task, fn)) is not None:
        del late.expired[task]
        task.uncancel()


def _was_only_us(queue: DeadlineQueue, task: asyncio.Task[Any], error: BaseException) -> bool:
    """Whether a call that timed out was ended by the timeout only, without another cancellation."""
    return ended_by_us(task, queue.expired.pop(task)[0], error)


@dataclass(slots=True)
class _Wait:
    """A wait that is bounded by a scope of the clock, and may be renewed."""

    scope: anyio.CancelScope
    clock: Clock
    seconds: float
    renewal: float
    fn: Callable[..., Any]  # the function of the call
    items: bool

    def renew(self) -> None:
        self.seconds = self.renewal
        put_off(self.clock, self.scope, self.renewal)


_waits: dict[int, list[_Wait]] = {}  # by task


@contextmanager
def _renewable(wait: _Wait) -> Iterator[None]:
    task = anyio.get_current_task().id
    waits = _waits.setdefault(task, [])
    waits.append(wait)
    try:
        yield
    finally:
        waits.remove(wait)
        if not waits:
            _waits.pop(task, None)


class Opens:
    """
    A call through several layers, which may turn out to open a stream.

    Args:
        inner: The layers.
        call: Their arguments, the function first.
    """

    __slots__ = ("_call", "_inner", "streams")

    def __init__(self, inner: Handler, *call: Any) -> None:
        self._inner = inner
        self._call = call
        self.streams = False

    def __call__(self) -> Any:
        return self._inner(*self._call)

    def opens(self, fn: Callable[..., Any]) -> bool:
        """Whether it is a call of this function."""
        return self._call[0] is fn


def let_renew(fn: Callable[..., Any]) -> None:
    """Let the wait for the first item be renewed, because a call of `fn` has turned out to open a stream."""
    if busy and (loop := running_loop()) is not None and (task := current_task(loop)) is not None:
        for queue in _queues_in(loop):
            if (entry := queue.calls.get(task)) is not None and isinstance(call := entry[2], Opens) and call.opens(fn):
                call.streams = True
    if _waits and in_task():
        for wait in _waits.get(anyio.get_current_task().id, ()):
            if isinstance(call := wait.fn, Opens) and call.opens(fn):
                call.streams = True


def _opens_a_stream(call: Callable[..., Any]) -> bool:
    return isinstance(call, Opens) and call.streams


def renew_waits() -> None:
    """Restart the wait for the next item of a stream that is alive, in this task and those that wait for it."""
    loop = running_loop()
    if busy and loop is not None and (task := current_task(loop)) is not None:
        _renew_queues(loop, task)
    if (not _waits and not readers) or not in_task():
        return
    here: int = anyio.get_current_task().id
    while True:
        for wait in _waits.get(here, ()):
            if wait.items or _opens_a_stream(wait.fn):
                wait.renew()
        if (reader := readers.get(here)) is None:
            return
        if reader.task is not None and loop is not None:
            _renew_queues(loop, reader.task)
        here = reader.id


def _renew_queues(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    for queue in _queues_in(loop):
        if queue.renewed is None:
            continue
        if (entry := queue.calls.get(task)) is not None and (queue.items or _opens_a_stream(entry[2])):
            queue.renew(task)


def seconds_left(within: float = math.inf) -> float:
    """
    Seconds until the running code has to be done, below 0 if that time has passed; inf without a bound.

    The soonest bound counts: a `deadline()`, and in a task also an anyio scope (or trio's own), a timeout of ours, and
    an `asyncio.timeout` that can be detected. In plain code of a thread or a callback, only `deadline()`.

    Args:
        within: In seconds. An `asyncio.timeout` that ends later may be missed. Default: none is missed on purpose.
    """
    ours = current_deadline()
    left = math.inf if ours is None else ours.left()
    if "trio" in modules and in_trio():
        return min(left, scope_seconds_left())
    if (loop := running_loop()) is None or (task := current_task(loop)) is None:
        return left
    for queue in list(busy) if busy else ():  # other threads change the set meanwhile
        if (entry := queue.calls.get(task)) is not None:
            left = min(left, entry[0] - loop.time())
    told = task_seconds_left(loop, task, within)
    return told if told < left else left


def _queues_in(loop: asyncio.AbstractEventLoop) -> list[DeadlineQueue]:
    """The queues of a loop with running timers. Other threads change the set meanwhile; `list` copies it atomically."""
    return [each for each in list(busy) if each.loop is loop]
