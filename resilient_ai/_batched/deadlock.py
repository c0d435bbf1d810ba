"""
Detect batches that wait for each other: the function of a batch may call a batched function, whose batch has to end
first.

If the first batch holds one of the `max_concurrency` slots, it may keep the second one from starting, and both would
wait for ever. A call checks for that before it waits.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from typing import TypeAlias

from .queue import ENDED, RUNNING, Batch, BatchQueue

# The batch that the running code is part of, and the batches around it.
Enclosing: TypeAlias = "tuple[Batch, Enclosing | None]"

enclosing: contextvars.ContextVar[Enclosing | None] = contextvars.ContextVar("resilient_ai.batch", default=None)


def enclosing_batches(around: Enclosing | None) -> Iterator[Batch]:
    """Iterate over the batches around the running code, innermost first."""
    while around is not None:
        yield around[0]
        around = around[1]


def begin_wait(outer: Batch, other: Batch | BatchQueue) -> None:
    """Note that a call made from inside the outer batch waits for the other one, or for room in a queue."""
    if outer.awaited is None:
        outer.awaited = {}
    outer.awaited[other] = outer.awaited.get(other, 0) + 1


def end_wait(outer: Batch, other: Batch | BatchQueue) -> None:
    """Note that such a call has its outcome, or has left."""
    if outer.awaited is not None and (calls := outer.awaited.pop(other, 0)) > 1:
        outer.awaited[other] = calls - 1


def is_stuck(batch: Batch) -> bool:
    """
    Whether a batch can never end, because it waits for batches that wait for it, directly or through other batches.

    Only a call from inside a batch can cause that, when it begins to wait for another batch. So this is checked for the
    batch around each such call.
    """
    needs = _all_needs(batch)
    # A batch can end if one batch of each group that it needs can end. Begin with the batches that need none, and
    # repeat until no more are found.
    ending: set[Batch] = set()
    found: list[Batch] | None = None
    while found != []:
        found = [
            each
            for each, groups in needs.items()
            if each not in ending and all(any(other in ending for other in group) for group in groups)
        ]
        ending.update(found)
    return batch not in ending


def _all_needs(batch: Batch) -> dict[Batch, list[list[Batch]]]:
    """The needs of a batch, of the batches it needs, and so on."""
    needs = {batch: _needs(batch)}
    todo = [batch]
    while todo:
        for other in (other for group in needs[todo.pop()] for other in group):
            if other not in needs:
                needs[other] = _needs(other)
                todo.append(other)
    return needs


def _needs(batch: Batch) -> list[list[Batch]]:
    """Groups of batches: one batch of each group has to end before this batch can."""
    groups: list[list[Batch]] = []
    for other in list(batch.awaited or ()):
        if isinstance(other, BatchQueue):
            groups += _needs_to_start(other)  # the queue has room again when its next batch starts
        elif other.phase is not ENDED:
            groups.append([other])
    return groups if batch.phase is RUNNING else groups + _needs_to_start(batch.queue)


def _needs_to_start(queue: BatchQueue) -> list[list[Batch]]:
    """What the next batch of a queue needs: the end of one running batch, if `max_concurrency` of them run."""
    return [list(queue.running)] if queue.is_busy else []
