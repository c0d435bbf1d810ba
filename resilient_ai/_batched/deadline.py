"""The deadline of a batch: the latest deadline of its callers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from resilient_ai._core.callers_deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .queue import Batch


class CallersDeadlines:
    """
    The deadlines of a batch's callers.

    Callers of equal items that are sent once share one waiter, so that a waiter may have several.
    """

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines: dict[Any, list[Deadline | None]] = {}

    def __bool__(self) -> bool:
        return bool(self._deadlines)

    def add(self, waiter: Any, deadline: Deadline | None) -> None:
        """Add the deadline of one more caller."""
        self._deadlines.setdefault(waiter, []).append(deadline)

    def latest(self, waiters: Iterable[Any]) -> float:
        """Seconds until the latest deadline of these waiters; inf if one of them has none."""
        seconds = -math.inf
        for waiter in waiters:
            for each in self._deadlines.get(waiter, (None,)):
                left = math.inf if each is None else each.left()
                if left == math.inf:
                    return left
                seconds = max(seconds, left)
        return seconds


class BatchDeadline(Deadline):
    """
    The deadline in a batch's task, in place of the first caller's.

    Args:
        batch: The batch; callers that have left it do not count.
        deadlines: The deadlines of its callers, on the first caller's clock.
        first: The first caller's deadline.
    """

    __slots__ = ("_batch", "_deadlines")

    def __init__(self, batch: Batch, deadlines: CallersDeadlines, first: Deadline) -> None:
        super().__init__(first.clock, math.inf)
        self._batch = batch
        self._deadlines = deadlines

    def own_left(self) -> float:
        return self._deadlines.latest(self._batch.items)
