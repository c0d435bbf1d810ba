"""How long the caller of the running code waits: by `deadline()`, a scope or a timeout around its task."""

from __future__ import annotations

import importlib
import math
import weakref
from functools import cache
from sys import modules
from typing import TYPE_CHECKING, Any

import anyio

from .asyncio_timeouts import timeout_around
from .backend import backend, in_trio
from .call_facts import is_marked
from .callers_deadline import Patience, current_deadline
from .clock import SystemClock
from .readers import readers
from .tasks import current_task, running_loop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_REAL = SystemClock()  # counts what event loops and their scopes do


def callers_patience() -> Patience | None:
    """
    How long the caller of the running code waits; None where nobody says.

    Policies ask before a call. A timeout of ours is none: it is the provider that it bounds.
    """
    ours, left = current_deadline(), _seconds_before_a_call()
    if ours is None:
        return None if left == math.inf else Patience(left, _REAL)
    patience = ours.soonest()
    if left < patience.seconds:
        return Patience(left, _REAL)
    return patience if patience.seconds < math.inf else None


def told_patience() -> Patience | None:
    """The same, without a look for an `asyncio.timeout` alone: a fallback above has told of one."""
    return callers_patience() if is_marked() or tasks_with_scopes() or "trio" in modules else None


def is_bounded_by_task() -> bool:
    """Whether a scope or timeout around the running task, and no `deadline()`, says how long its caller waits."""
    return _seconds_before_a_call() < math.inf


def _seconds_before_a_call() -> float:
    """Seconds until a scope or timeout around the running task ends; inf also where it is cancelled already."""
    loop, tasks = running_loop(), tasks_with_scopes()
    timers = getattr(loop, "_scheduled", None)
    if loop is not None and not timers and not tasks and not readers and "trio" not in modules:
        return math.inf
    task = current_task(loop) if loop is not None else None
    on_trio = "trio" in modules and in_trio()
    left = math.inf
    if on_trio or (task is not None and (readers or _is_in_scope(task, tasks))):
        left = _scope_seconds_left()
        if left == -math.inf:  # cancelled: the next wait will say so
            left = math.inf
    if timers and task is not None and not on_trio:
        ends = timeout_around(loop, task, before_a_call=True)
        if ends < math.inf:
            left = min(left, ends - loop.time())  # type: ignore[union-attr]  # it has a task
    return left


def _is_in_scope(task: Any, tasks: Collection[Any]) -> bool:
    """Whether a task of asyncio may be in a scope now; many have been in one, such as that of an HTTP client."""
    if type(tasks) is not dict:
        return True
    state = tasks.get(weakref.ref(task))
    return state is not None and getattr(state, "cancel_scope", state) is not None


@cache
def tasks_with_scopes() -> Collection[Any]:
    """
    The tasks of asyncio that have been in a scope of anyio's, by weak references, as anyio knows them.

    To ask anyio for the deadline of a task takes ten bare awaits, and to see that there is no such task takes none.
    """
    try:
        states = importlib.import_module("anyio._backends._asyncio")._task_states.data
    except (ImportError, AttributeError):
        return _Every()
    return states  # type: ignore[no-any-return]


class _Every:
    """In place of what another version of anyio keeps elsewhere: any task may have been in a scope."""

    def __contains__(self, _task: object) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def scope_seconds_left() -> float:
    """Seconds until a scope around the running task ends, in real time; inf without one, and in plain code."""
    loop = running_loop()
    task = current_task(loop) if loop is not None else None
    if not in_trio() and (task is None or (weakref.ref(task) not in tasks_with_scopes() and not readers)):
        return math.inf
    return _scope_seconds_left()


def _scope_seconds_left() -> float:
    running = backend()
    ends = running.current_effective_deadline()
    if readers and (reader := readers.get(anyio.get_current_task().id)) is not None:
        ends = min(ends, reader.until)
    return math.inf if ends == math.inf else ends - running.current_time()


def timeout_seconds_left(loop: Any) -> float:
    """Seconds until an `asyncio.timeout` around the running task ends; inf without one, or where none is seen."""
    task = current_task(loop)
    if task is None or in_trio():
        return math.inf
    now: float = loop.time()
    return timeout_around(loop, task) - now
