"""
Which event loop runs, in anyio's terms, and whether the running task has been cancelled.

anyio asks for the loop anew in each of its functions, which takes ten bare awaits, most of what a refusal costs. Inside
an asyncio task there is only one answer, so it is asked for once.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - to know an asyncio task when there is one; everything else is anyio's
import weakref
from threading import get_ident
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import AsyncBackend

_running_loop = asyncio._get_running_loop
_current_task = asyncio.current_task
_asyncio: type[AsyncBackend] | None = None


def backend() -> type[AsyncBackend]:
    """What anyio's functions turn to in the running task."""
    global _asyncio
    loop = _running_loop()
    if loop is None or _current_task(loop) is None:
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
    ):
        return asked[2].has_pending_cancellation()
    info, loop = anyio.get_current_task(), _running_loop()
    if loop is not None and (task := _current_task(loop)) is not None:
        _asked = get_ident(), weakref.ref(task), info
    return info.has_pending_cancellation()
