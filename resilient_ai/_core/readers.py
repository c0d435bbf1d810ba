"""Tasks that wait for items of a stream that other tasks read for them."""

from __future__ import annotations

import asyncio  # noqa: TID251 - to know a task of asyncio when there is one
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from .backend import backend, in_trio
from .tasks import current_task, running_loop

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Reader:
    """
    A task that waits for an item that another task reads.

    Attributes:
        task: The task, on asyncio.
        id: The id of the task in anyio.
        until: When the wait has to end, on the event loop's clock.
    """

    task: asyncio.Task[Any] | None
    id: int
    until: float

    @classmethod
    def here(cls, seconds_left: float) -> Reader:
        """The running task, which has so many seconds left."""
        loop = running_loop() if not in_trio() else None
        task = current_task(loop) if loop is not None else None
        return cls(task, anyio.get_current_task().id, backend().current_time() + seconds_left)


readers: dict[int, Reader] = {}  # by id of the task that reads for each


@contextmanager
def reading_for(reader: Reader) -> Iterator[None]:
    """Let the running task read for a waiting one: its time left and its signs of life apply to that one."""
    task = anyio.get_current_task().id
    readers[task] = reader
    try:
        yield
    finally:
        readers.pop(task, None)
