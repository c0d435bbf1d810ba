"""The batches of one `@batched` name in one event loop: the queue, and the callers that share an item."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from resilient_ai._core.tasks import Promise, is_closed, promise_class

from .results import Failure

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .queue import Batch, BatchQueue


class LoopBatches:
    """
    The batches of one event loop. Does not keep the loop alive.

    Attributes:
        loop: Returns the loop; None when it was garbage-collected.
        queue: The waiting and running batches.
        promise: Makes a promise; called with `loop=`.
        shared_items: The shared items by group and item; empty unless equal items are sent once.
    """

    __slots__ = ("loop", "promise", "queue", "shared_items")

    def __init__(self, loop: Any, queue: BatchQueue) -> None:
        self.loop = weakref.ref(loop)
        self.queue = queue
        self.promise = promise_class(loop)
        self.shared_items: dict[Hashable, SharedItem] = {}

    def is_closed(self) -> bool:
        """Whether nothing can run in the loop any more."""
        loop = self.loop()
        return loop is None or is_closed(loop)

    def wake(self) -> None:
        """
        Let the batches that have started run, and waiting callers into the queue, first come first served.

        To be called after anything that may start a batch or make room.
        """
        queue = self.queue
        while queue.started or queue.counters.waiting_for_room:
            started, queue.started = queue.started, []
            for batch in started:
                batch.run.wake()
            call = queue.first_with_room()
            if call is None:
                return
            call.enter()


class SharedItem:
    """
    Callers that wait for one item. To the batch they are one waiter, like a single caller's promise.

    Args:
        batches: The batches of the loop.
        key: Group and item.
        first: The promise of the caller that brought the item.

    Attributes:
        batch: The batch that has the item.
    """

    __slots__ = ("_batches", "_key", "_promises", "batch")

    def __init__(self, batches: LoopBatches, key: Hashable, first: Promise) -> None:
        self._batches = batches
        self._key = key
        self._promises = [first]
        self.batch: Batch

    def join(self, promise: Promise) -> None:
        """Add one more caller that wants the item."""
        self._promises.append(promise)
        self._batches.queue.counters.shared += 1

    def leave(self, promise: Promise) -> bool:
        """Like `BatchQueue.leave`, for one of the callers: the item leaves its batch with the last of them."""
        if promise not in self._promises:
            return False
        if len(self._promises) > 1:
            self._promises.remove(promise)
            self._batches.queue.counters.left += 1
            return False
        del self._batches.shared_items[self._key]
        self._promises.clear()
        return self._batches.queue.leave(self.batch, self)

    def done(self) -> bool:
        """Whether nobody waits for the item."""
        return not self._promises

    def set_result(self, result: Any, /) -> None:
        """Give the outcome to every caller."""
        promises, counters = self._promises[:], self._batches.queue.counters
        del self._batches.shared_items[self._key]
        self._promises.clear()
        others = len(promises) - 1  # the batch counts one waiter
        if type(result) is Failure:
            counters.failed += others
            result = Failure(result.error, shared=result.shared or others > 0)
        else:
            counters.answered += others
        for promise in promises:
            if not promise.done():
                promise.set_result(result)
