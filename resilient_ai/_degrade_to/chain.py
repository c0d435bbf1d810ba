"""The fallback chain: asks the rungs in order, each with a time limit, few at once, once for identical calls."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import AsyncIterable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.call_facts import OWN_VARIABLES
from resilient_ai._core.errors import CallTimeoutError
from resilient_ai._core.own_task import OwnTask
from resilient_ai._core.patience import callers_patience
from resilient_ai._core.per_loop import PerLoop
from resilient_ai._core.plain_streams import LiftedStream, gives_plain_items
from resilient_ai._core.scopes import move_on_after
from resilient_ai._core.tasks import current_loop

from .call_key import call_key
from .contract import NO_ANSWER
from .digest import NoScope
from .fallback import Answer, Rung, in_full
from .plain_rungs import waited_for
from .single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable

    from resilient_ai._core.callers_deadline import Patience
    from resilient_ai._core.clock import Clock

    from .contract import FailedCall


class _AtWork:
    """The running work of one chain in one event loop."""

    __slots__ = ("flights", "slots")

    def __init__(self, most: int) -> None:
        self.slots = anyio.Semaphore(most, fast_acquire=True)
        self.flights: SingleFlight[Answer | None] = SingleFlight()


class FallbackChain:
    """
    The rungs of one policy, and how they are asked.

    Args:
        rungs: The rungs, in the order in which they are asked.
        clock: The clock of the time limits.
        timeout: Seconds that one rung has for one call, including the wait for its turn; None: no bound.
        most: Most async rungs running at a time, per event loop.
        failed: Called with a rung that raised, and the call.
        plain: Whether the callers block; then each rung is asked in its caller's own thread.
    """

    def __init__(
        self,
        rungs: tuple[Rung, ...],
        clock: Clock,
        *,
        timeout: float | None,
        most: int,
        failed: Callable[[Rung, FailedCall, Exception], None],
        plain: bool = False,
    ) -> None:
        self.rungs = rungs
        self._plain = plain
        self._clock = clock
        self._timeout = timeout
        self._failed = failed
        self._at_work = PerLoop(lambda _loop: _AtWork(most))

    async def first_answer(self, call: FailedCall) -> Answer | None:
        """
        The first answer of one value, or None if every rung passes.

        Calls that a rung cannot tell apart share one computation: same function, scope, arguments, kind of error and
        context variables, because a rung may use any of these to find out who is asking.
        """
        if self.rungs[0].recall is None or self._plain:
            return await self._first(call, self._ask)  # a value: there is nothing to compute
        # Kept until the answer is there, because the key holds ids of its values.
        context = contextvars.copy_context()
        try:
            kind = type(call.error), call.verdict and call.verdict.error_type
            key = call_key(call), kind, _context_key(context)
        except NoScope:
            return await self._first(call, self._ask)
        flights = self._at_work.of(current_loop()).flights
        answer, shared = await flights.run(key, lambda: self._first(call, self._ask))
        return answer if answer is None or not shared else replace(answer, shared=True)

    async def first_item(self, call: FailedCall) -> Answer | None:
        """The first answer that is a value or a stream with at least one item, or None if every rung passes."""
        return await self._first(call, self._ask_for_items)

    async def items(self, answer: Answer, first: Any) -> AsyncGenerator[Any, None]:
        """Iterate over the items for the caller of a stream: the first, then the others, each within the time limit."""
        try:
            yield first
            while answer.rest is not None:
                try:
                    item = await self._item_of(answer.rest, answer.rung)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            await answer.close()

    async def _first(
        self, call: FailedCall, ask: Callable[[Rung, FailedCall], Awaitable[Answer | None]]
    ) -> Answer | None:
        for rung in self.rungs:
            try:
                answer = await ask(rung, call)
            except Exception as error:  # noqa: BLE001 - a broken rung must not keep the others from answering
                self._failed(rung, call, error)
                continue
            if answer is not None:
                return answer
        return None

    async def _ask(self, rung: Rung, call: FailedCall, *, streams: bool = False) -> Answer | None:
        if rung.streams_for(plain=self._plain) and not streams:
            return None
        answer = rung.given if rung.recall is None else rung.recall(call)
        if rung.recall is not None and inspect.isawaitable(answer):
            answer = await self._limited(answer, rung)
        recalled = in_full(answer, rung)
        return None if recalled.answer is NO_ANSWER else Answer(rung, recalled)

    async def _ask_for_items(self, rung: Rung, call: FailedCall) -> Answer | None:
        answer = await self._ask(rung, call, streams=True)
        if answer is None or (items := self._items_of(answer.recalled.answer)) is None:
            return answer
        answer.rest = items
        try:
            first = await self._item_of(items, rung)
        except StopAsyncIteration:
            return None
        except BaseException:
            await answer.close()
            raise
        answer.recalled = replace(answer.recalled, answer=first)
        return answer

    def _items_of(self, answer: Any) -> AsyncIterator[Any] | None:
        """The items of an answer that is a stream; None if it is one value."""
        if self._plain:
            return LiftedStream(answer) if gives_plain_items(type(answer)) else None
        # Each item is awaited within a cancel scope, so the stream needs a task of its own.
        return OwnTask(aiter(answer)) if isinstance(answer, AsyncIterable) else None

    async def _item_of(self, items: AsyncIterator[Any], rung: Rung) -> Any:
        return await (anext(items) if self._plain else self._limited(anext(items), rung))

    async def _limited(self, answer: Awaitable[Any], rung: Rung) -> Any:
        """
        Await an answer within the rung's time limit, which includes the wait for its turn.

        If the caller has a deadline, a rung gets half of the time left, unless it is the last one, so that the next one
        can answer.
        """
        if self._plain:
            return waited_for(answer, f"rung {rung.name}")
        began, seconds, clock = False, self._timeout, self._clock
        if rung is not self.rungs[-1] and (patience := callers_patience()) is not None:
            seconds, clock = self._sooner(patience.less(patience.seconds / 2))
        try:
            with move_on_after(clock, seconds) if seconds is not None else nullcontext():
                async with self._at_work.of(current_loop()).slots:
                    began = True
                    return await answer
            raise CallTimeoutError(rung.name, timeout_seconds=seconds or 0.0)
        finally:
            if not began and (close := getattr(answer, "close", None)) is not None:
                close()  # otherwise Python warns that the coroutine was never awaited

    def _sooner(self, patience: Patience) -> tuple[float, Clock]:
        """The rung's time limit, or the caller's if that is shorter, and its clock."""
        seconds = max(0.0, patience.seconds)
        if self._timeout is not None and self._timeout <= seconds:
            return self._timeout, self._clock
        return seconds, patience.clock


def _context_key(context: contextvars.Context) -> Hashable:
    return frozenset((id(variable), id(value)) for variable, value in context.items() if variable not in OWN_VARIABLES)
