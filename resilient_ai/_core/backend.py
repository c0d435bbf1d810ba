"""
Which event loop runs, in anyio's terms, and whether the running task has been cancelled.

Each function of anyio determines anew which loop runs. That costs ten bare awaits, most of the cost of a refusal.
Inside an asyncio task the answer is always the same, so it is cached. The exception is an asyncio task that calls
`trio.run`, as a cell of a notebook may: asyncio then still reports its own task as the running one.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - to know an asyncio task when there is one; everything else is anyio's
import sys
import weakref
from contextlib import nullcontext
from sys import modules
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

from .task_scopes import is_in_scope, tasks_with_scopes
from .tasks import current_task, running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    from anyio.abc import AsyncBackend

# Whether only one thread runs at a time, so that appending to a list needs no lock. Without a GIL it needs one.
LOCK_FREE: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

_asyncio: type[AsyncBackend] | None = None


_in_trio_task: Callable[[], bool] | None = None


def in_trio() -> bool:
    """Whether trio runs this task, even if asyncio reports a running task."""
    global _in_trio_task
    if _in_trio_task is None and "trio" in modules:  # still None while another thread imports it
        _in_trio_task = getattr(getattr(modules["trio"], "lowlevel", None), "in_trio_task", None)
    return _in_trio_task is not None and _in_trio_task()


def in_task() -> bool:
    """Whether a task of an event loop runs this code; if not, it is plain code of a thread, or a callback."""
    loop = running_loop()
    return (loop is not None and current_task(loop) is not None) or in_trio()


def shielded() -> AbstractContextManager[object]:
    """A context manager that shields a closing block from cancellation; in plain code it does nothing."""
    return anyio.CancelScope(shield=True) if in_task() else nullcontext()


def backend() -> type[AsyncBackend]:
    """The anyio backend of the running task."""
    global _asyncio
    loop = running_loop()
    if loop is None or current_task(loop) is None or in_trio():
        return current_token().backend_class
    if _asyncio is None:
        _asyncio = current_token().backend_class
    return _asyncio


async def tell_scopes(error: BaseException) -> None:
    """
    If a scope around the task has been cancelled as well, put its cancellation in place of one of ours.

    A scope ends its block by no other cancellation than its own. On asyncio the first one goes on where a task group
    waits for its tasks meanwhile, and then the scope would let it out into its caller's code.

    Args:
        error: What has ended a call after our cancellation.

    Raises:
        CancelledError: The scope's.
    """
    if isinstance(error, asyncio.CancelledError):
        await backend().checkpoint_if_cancelled()


_asked: tuple[Callable[[], asyncio.Task[object] | None], anyio.TaskInfo] | None = None

_scopes: Collection[object] | None = None  # `tasks_with_scopes()`, which takes half a bare await


def cancelled() -> bool:
    """
    Whether the running task has a pending cancellation, which its next checkpoint will raise.

    In asyncio a task that is in no scope of anyio's says so itself, which takes one bare await or two. For others the
    last one that has asked is remembered, as in an open circuit one task asks many times: 4 bare awaits in place of 25.
    """
    global _asked, _scopes
    # No loop runs, or it is trio's.
    if (loop := running_loop()) is None or (task := current_task(loop)) is None or ("trio" in modules and in_trio()):
        return in_trio() and anyio.get_current_task().has_pending_cancellation()
    if (scopes := _scopes) is None:
        scopes = _scopes = tasks_with_scopes()
    if not scopes or not is_in_scope(task, scopes):
        try:
            return task._must_cancel  # type: ignore[attr-defined, no-any-return]  # as anyio's answer
        except AttributeError:  # a task of another library does not tell
            pass
    # The task is referred to weakly: otherwise one that has ended would be kept, with all that it refers to.
    if (asked := _asked) is None or asked[0]() is not task:
        asked = _asked = weakref.ref(task), anyio.get_current_task()
    return asked[1].has_pending_cancellation()
