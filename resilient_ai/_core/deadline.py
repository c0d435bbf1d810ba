"""
Deadlines of calls: a call that takes longer than its function's timeout is cancelled and raises `CallTimeoutError`.

On asyncio, in real time, all calls through one layer share a queue. They have the same timeout, so the call that came
first is due first: a call costs one entry in a dict, and one timer of the loop watches the head of the queue. That is
a fifth of what `asyncio.timeout` costs and a tenth of `anyio.fail_after`. Everywhere else the clock's own scopes do it.

Waiting for an item of a stream may be renewed: a stream that is alive without having an item for its consumer (a model
that thinks) says so by `renew_waits`.
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
        inner: What runs the call.
        seconds: How long it may take.
        clock: Where time comes from.
        name: Who is named in the error.
        renewal: For the waiting for a stream: seconds that it may take from the latest sign of life on. Default: it is
            not renewed. A call is renewed only if it is one of `Opens` and has turned out to open a stream.
        items: Whether it is items that are waited for, so that a sign of life renews every wait.
        timed_out: Counts a call whose time was over.

    Returns:
        A handler that raises `CallTimeoutError` when the time is over. A cancellation from outside passes through,
        also when both come in the same moment.
    """

    bound = _Bounded(inner, seconds, clock, name, renewal, items, timed_out)
    return bound.queued if getattr(clock, "real", False) else bound.scoped


class _Bounded:
    """What `bounded` returns is a method of this: closures would take three times the room for every function."""

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
        self._queues: PerLoop[DeadlineQueue] | None = None  # made for the first call: many functions never see one
        self.latest: DeadlineQueue | None = None  # the latest queue, if its loop tells in which thread it runs

    def __del__(self) -> None:
        """The function is gone: a timer that would find nothing is not left behind."""
        if self._queues is not None and busy is not None:  # it is None where the interpreter is about to end
            for queue in self._queues.every():
                queue.give_up()

    def _after_fork(self) -> None:
        """In a forked child: no loop of the parent's runs, whatever thread it names."""
        self._queues = self.latest = None

    async def scoped(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Within a scope of the clock's."""
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
        # Of two threads that make one each, the calls of the first wait in theirs until they are over.
        if self._queues is None:
            self._queues = PerLoop(partial(DeadlineQueue, self.seconds, self._renewal, self._items), forget)
            start_over_after_fork(self)
        queue = self._queues.of(loop)
        self.latest = queue if hasattr(loop, "_thread_id") else None
        return queue

    async def queued(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In the queue of the running loop, where there is one of asyncio."""
        loop = running_loop()
        task = current_task(loop) if loop is not None else None
        if loop is None or task is None or in_trio():
            return await self.scoped(fn, instance, args, kwargs)
        queue = self._queues.latest if self._queues is not None else None
        if queue is None or queue.loop is not loop:
            queue = self._queue_of(loop)
        calls = queue.calls
        if task in calls:  # a call within a call: the outer one is due first
            return await self._inner(fn, instance, args, kwargs)
        if task in queue.expired:  # this call cleans up after one whose time is over
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
    """How long `bounded` lets a call take; inf for another handler."""
    bound = getattr(run, "__self__", None)
    return bound.seconds if type(bound) is _Bounded else math.inf


def call_within(run: Handler, function: Callable[..., Any]) -> Callable[..., Any]:
    """
    A function that calls another one within a time, for the fast path.

    Args:
        run: What `bounded` has made of `call_plainly`, or another handler.
        function: What is called, with the arguments that are given as a tuple and a dict.
    """
    bound = getattr(run, "__self__", None)
    if type(bound) is not _Bounded or run != bound.queued:
        return partial(run, function, None)

    async def called(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # `queued` written out, which would be three calls. The latest queue's loop is known to be the running one by
        # its thread: to ask which loop runs is a system call in Python 3.11, of four bare awaits.
        queue = bound.latest
        if (
            queue is None
            or queue.loop._thread_id != get_ident()  # type: ignore[attr-defined]  # `latest` has one
            or (task := current_task(queue.loop)) is None
            or ("trio" in modules and in_trio())
            or task in (calls := queue.calls)
            or task in queue.expired
        ):
            return await bound.queued(function, None, args, kwargs)
        calls[task] = queue.now() + queue.seconds, task.cancelling(), function
        if queue.timer is None:
            queue.watch()
        try:
            result = await (function(*args, **kwargs) if kwargs else function(*args))
        except BaseException as error:
            mark_if_wrong_call(error)
            if calls.pop(task, None) is None:
                await bound.failed_late(queue, task, function, error)
            raise
        if calls.pop(task, None) is None:
            _answered_late(queue, task, function)
        return result

    return called


def _answered_late(queue: DeadlineQueue, task: asyncio.Task[Any], fn: Any) -> None:
    """If the time was over, the function has answered all the same."""
    if (late := queue.leave(task, fn)) is not None:
        del late.expired[task]
        task.uncancel()


def _was_only_us(queue: DeadlineQueue, task: asyncio.Task[Any], error: BaseException) -> bool:
    """Whether the timeout alone ended a call whose time was over, and nobody else cancelled it as well."""
    return ended_by_us(task, queue.expired.pop(task)[0], error)


@dataclass(slots=True)
class _Wait:
    """A wait that a scope of the clock bounds, and that may be renewed."""

    scope: anyio.CancelScope
    clock: Clock
    seconds: float
    renewal: float
    fn: Callable[..., Any]  # what is called
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
    A call of several layers at once, which may turn out to open a stream.

    Args:
        inner: The layers.
        call: What they are called with, the function first.
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
    """A call of `fn` has turned out to open a stream: the waiting for its first item may be renewed."""
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
    """A stream is alive: whoever waits for its next item, in this task or by means of it, waits anew."""
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


def seconds_left() -> float:
    """
    Seconds until the running code has to be done, below 0 when that has passed; inf when nobody says.

    The soonest counts: a `deadline()`, and in a task also an anyio scope (or trio's own), a timeout of ours, and an
    `asyncio.timeout` where one can be seen. In plain code, out of a thread or a callback, `deadline()` alone.
    """
    ours = current_deadline()
    left = math.inf if ours is None else ours.left()
    if "trio" in modules and in_trio():
        return min(left, scope_seconds_left())
    if (loop := running_loop()) is None or (task := current_task(loop)) is None:
        return left
    if busy and (due := [entry[0] for each in _queues_in(loop) if (entry := each.calls.get(task)) is not None]):
        left = min(left, min(due) - loop.time())
    return min(left, task_seconds_left(loop, task))


def _queues_in(loop: asyncio.AbstractEventLoop) -> list[DeadlineQueue]:
    """Those of a loop whose timers run. Queues of other threads come and go meanwhile, and `list` copies at once."""
    return [each for each in list(busy) if each.loop is loop]
