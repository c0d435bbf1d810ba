"""
Which event loop runs, in anyio's terms, and whether the running task has been cancelled.

anyio asks for the loop anew in each of its functions, which takes ten bare awaits, most of what a refusal costs. Inside
an asyncio task there is only one answer, so it is asked for once. Unless that task calls `trio.run`, as a cell of a
notebook may: then asyncio says that its task runs, and it stands still.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - to know an asyncio task when there is one; everything else is anyio's
import sys
import weakref
from sys import modules
from threading import get_ident
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import AsyncBackend

# Appending to a list needs no lock while one thread runs at a time. Without a GIL every result takes the lock.
LOCK_FREE: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

_running_loop = asyncio._get_running_loop
_current_task = asyncio.current_task
_asyncio: type[AsyncBackend] | None = None


_in_trio_task: Callable[[], bool] | None = None


def in_trio() -> bool:
    """Whether it is trio that runs this task, whatever asyncio says."""
    global _in_trio_task
    if _in_trio_task is None and "trio" in modules:  # and None still while another thread is at importing it
        _in_trio_task = getattr(getattr(modules["trio"], "lowlevel", None), "in_trio_task", None)
    return _in_trio_task is not None and _in_trio_task()


def backend() -> type[AsyncBackend]:
    """What anyio's functions turn to in the running task."""
    global _asyncio
    loop = _running_loop()
    if loop is None or _current_task(loop) is None or in_trio():
        return current_token().backend_class
    if _asyncio is None:
        _asyncio = current_token().backend_class
    return _asyncio


_asked: tuple[int, Callable[[], asyncio.Task[object] | None], anyio.TaskInfo] | None = None


def cancelled() -> bool:
    """
    Whether the running task has been cancelled and has not heard of it yet; its next checkpoint will tell it.

    In an open circuit one task asks many times, so that the last one is remembered: in asyncio that takes 6 bare
    awaits, and 25 for another task.
    """
    global _asked
    asked = _asked
    # In the loop of the remembered task, because to ask which one runs takes a system call in Python 3.11. Both are
    # known weakly, the loop by its task: one that has ended would be kept with all that it refers to.
    if (
        asked is not None
        and asked[0] == get_ident()
        and (task := asked[1]()) is not None
        and task is _current_task(task.get_loop())
        and not in_trio()
    ):
        return asked[2].has_pending_cancellation()
    info, loop = anyio.get_current_task(), _running_loop()
    if loop is not None and (task := _current_task(loop)) is not None and not in_trio():
        _asked = get_ident(), weakref.ref(task), info
    return info.has_pending_cancellation()
