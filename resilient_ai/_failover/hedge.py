"""Hedging: ask a second endpoint when the first is slow, take the first answer, and pay for few of the extra calls."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import anyio

from resilient_ai._core.quantiles import quantile

from .search import Answer, Way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_ai._core.clock import Clock

    from .search import Search, Step
    from .strategy import Lane

ENOUGH_SAMPLES = 20
FREE_HEDGES = 3
REMEMBERED_CALLS = 2_000


class HedgeBudget:
    """Extra calls may be a small share of all; the first few are free, so that rare calls can be hedged at all."""

    __slots__ = ("_calls", "_share", "_spent")

    def __init__(self, share: float) -> None:
        self._share = share
        self.clear()

    def clear(self) -> None:
        self._calls = 0.0
        self._spent = 0.0

    def called(self) -> None:
        """One more call that could have been hedged."""
        self._calls += 1
        if self._calls > REMEMBERED_CALLS:  # old ones count half, so that a quiet day pays for no storm
            self._calls /= 2
            self._spent /= 2

    def take(self) -> bool:
        """Whether one extra call may be made now; it is counted."""
        if self._spent + 1 > max(float(FREE_HEDGES), self._calls * self._share) or not self._share:
            return False
        self._spent += 1
        return True

    def give_back(self) -> None:
        """It was not made after all."""
        self._spent -= 1


class HedgeDelay:
    """Seconds to wait for the first endpoint: given, or learned from how long answers take."""

    __slots__ = ("_fixed", "_known", "_learned", "_samples")

    def __init__(self, after: float | Literal["p95"]) -> None:
        self._fixed = None if isinstance(after, str) else float(after)
        self.clear()

    def clear(self) -> None:
        self._samples: deque[float] = deque(maxlen=200)
        self._known = 0
        self._learned: float | None = None

    def learn(self, seconds: float) -> None:
        """One answer of a first endpoint took so long, or at least so long."""
        if self._fixed is None:
            self._samples.append(seconds)
            self._known += 1
            if self._known >= ENOUGH_SAMPLES and (self._learned is None or self._known % 10 == 0):
                self._learned = quantile(self._samples, 0.95)

    def seconds(self) -> float | None:
        """None while too little is known."""
        return self._fixed if self._fixed is not None else self._learned


class Race:
    """
    One call that may be asked of two endpoints at a time.

    Args:
        search: Where to go; each of the two moves on by itself when its endpoint fails.
        attempt: Asks one endpoint.
        dispose: Closes an answer that came too late.
        clock: The registry's.
    """

    def __init__(
        self,
        search: Search,
        attempt: Callable[[Lane], Awaitable[Any]],
        dispose: Callable[[Any], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._search = search
        self._attempt = attempt
        self._dispose = dispose
        self._clock = clock
        self._answer: Answer | None = None
        self._error: Exception | None = None
        self._began = 0.0
        self.hedge: Lane | None = None

    async def run(self, step: Step, delay: float, budget: HedgeBudget) -> Answer:
        """
        Ask the first endpoint, and after `delay` seconds without an answer another one beside it.

        Raises:
            AllEndpointsFailedError: Neither found an endpoint that answers.
            Exception: The caller's own mistake, as it is.
        """
        try:
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as first:
                    tasks.start_soon(self._second, delay, budget, first)
                    await self._ask(step, hedged=False)
                if self._answer is not None or self._error is not None or self.hedge is None:
                    tasks.cancel_scope.cancel()
        except BaseException as error:
            if (unheard := self._answer) is not None:  # the caller was cancelled in the moment of its answer
                unheard.lane.handle.released(unheard.ticket)
                await self._dispose(unheard.value)
            if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                raise error.exceptions[0] from None  # an exit: the group is our task group's
            raise
        if self._answer is not None:
            return self._answer
        try:
            raise self._error if self._error is not None else self._search.all_failed(self._clock.now())
        finally:
            self._error = None  # its traceback holds this frame

    async def _second(self, delay: float, budget: HedgeBudget, first: anyio.CancelScope) -> None:
        while (wait := self._began + delay - self._clock.now()) > 0:  # again when the first one has moved on
            await self._clock.sleep(wait)
        if not budget.take():
            return
        step = None
        try:
            step = self._search.spare(self._clock.now())
        except Exception as error:  # noqa: BLE001 - a strategy of the user's; a task group would wrap it
            self._error = error
        if step is None:
            budget.give_back()
        else:
            self.hedge = step[0]
            await self._ask(step, hedged=True)
        if self._answer is not None or self._error is not None:
            first.cancel()

    async def _ask(self, step: Step | None, *, hedged: bool) -> None:
        try:
            while step is not None:
                lane, ticket = step
                started = self._clock.now()
                if not hedged:
                    self._began = started
                try:
                    value = await self._attempt(lane)
                except Exception as error:  # noqa: BLE001 - it decides where to go, or is raised when both have ended
                    after = self._search.after(lane, ticket, self._clock.now(), error)
                    if after is Way.BACK:
                        self._error = error
                        return
                    step = after
                except BaseException:
                    if self._answer is not None:
                        now = self._clock.now()
                        lane.handle.lost(ticket, now, now - started)
                    else:
                        lane.handle.released(ticket)
                    raise
                else:
                    if self._answer is None and self._error is None:
                        self._answer = Answer(value, lane, ticket, started, hedged)
                    else:
                        lane.handle.released(ticket)
                        await self._dispose(value)
                    return
        except Exception as error:  # noqa: BLE001 - a strategy of the user's; a task group would wrap it
            self._error = error
