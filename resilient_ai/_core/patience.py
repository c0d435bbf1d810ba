"""How long the caller of the running code waits, by `deadline()`, a scope or a timeout around its task."""

from __future__ import annotations

import math
from sys import modules
from typing import Any

import anyio

from .asyncio_timeouts import timeout_around
from .backend import backend, in_trio
from .callers_deadline import Patience, current_deadline
from .clock import SystemClock
from .readers import readers
from .task_scopes import is_in_scope, is_outermost, scope_around, tasks_with_scopes
from .tasks import current_task, running_loop

_REAL = SystemClock()  # the clock of event loops and their scopes


def callers_patience() -> Patience | None:
    """
    How long the caller of the running code waits; None without a bound.

    Policies use this before a call. Our own timeouts do not count, because they bound the provider.
    """
    ours = current_deadline()
    left = _seconds_before_a_call(None if ours is None else ours.scope)
    if ours is None:
        return None if left == math.inf else Patience(left, _REAL)
    patience = ours.soonest()
    if left < patience.seconds:
        return Patience(left, _REAL)
    return patience if patience.seconds < math.inf else None


def told_patience() -> Patience | None:
    """The same without a search for `asyncio.timeout`, which a fallback above has already done."""
    return callers_patience() if current_deadline() or tasks_with_scopes() or "trio" in modules else None


def is_bounded_by_task() -> bool:
    """Whether a scope or timeout around the running task bounds the caller's wait, and not a `deadline()`."""
    return _seconds_before_a_call() < math.inf


def _seconds_before_a_call(known: object = None) -> float:
    """
    Seconds until a scope or timeout around the running task ends; inf also if the scope is already cancelled.

    Args:
        known: A scope that need not be counted. To ask anyio about it takes as long as four policies.
    """
    loop, tasks = running_loop(), tasks_with_scopes()
    timers = getattr(loop, "_scheduled", None)
    if loop is not None and not timers and not tasks and not readers and "trio" not in modules:
        return math.inf
    task = current_task(loop) if loop is not None else None
    on_trio = "trio" in modules and in_trio()
    left = math.inf
    scope = None if on_trio or task is None else scope_around(task, tasks)
    counts = scope is not None and not (scope is known and is_outermost(scope))
    if on_trio or counts or (readers and task is not None):
        left = scope_seconds_left()
        if left == -math.inf:  # cancelled: the next wait will raise that
            left = math.inf
    if loop is not None and timers and task is not None and not on_trio:
        ends = timeout_around(loop, task, before_a_call=True)
        if ends < math.inf:
            left = min(left, ends - loop.time())
    return left


def scope_seconds_left() -> float:
    """Seconds until a scope around the running task ends, in real time; inf without one. Not for plain code."""
    running = backend()
    ends = running.current_effective_deadline()
    if readers and (reader := readers.get(anyio.get_current_task().id)) is not None:
        ends = min(ends, reader.until)
    return math.inf if ends == math.inf else ends - running.current_time()


def task_seconds_left(loop: Any, task: Any, within: float = math.inf) -> float:
    """
    Seconds until a scope or an `asyncio.timeout` around the running task ends; inf if none is found.

    Args:
        loop: The running asyncio loop.
        task: Its running task.
        within: Seconds; a timeout that ends later may go unseen.
    """
    scopes = tasks_with_scopes()
    left = scope_seconds_left() if readers or (scopes and is_in_scope(task, scopes)) else math.inf
    timers, now = getattr(loop, "_scheduled", None), loop.time()
    if not timers or timers[0]._when > now + within:  # the first timer is the first that is due: mostly none is soon
        return left
    told: float = timeout_around(loop, task, until=now + within) - now
    return min(left, told)
