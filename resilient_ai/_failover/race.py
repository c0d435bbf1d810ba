"""A hedged call: the first endpoint, another one beside it when it is slow, and the first answer of the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from .selection import RAISE, Answer, close_replaced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_ai._core.clock import Clock

    from .candidate import Candidate
    from .hedge import HedgeBudget
    from .selection import Admission, EndpointSelection


class Race:
    """
    One call that may be asked of two endpoints at a time.

    Args:
        selection: Where to go; each of the two moves on by itself when its endpoint fails.
        ask: Asks one endpoint.
        close_late: Closes an answer that came too late.
        clock: The registry's.
    """

    def __init__(
        self,
        selection: EndpointSelection,
        ask: Callable[[Candidate], Awaitable[Any]],
        close_late: Callable[[Any], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._selection = selection
        self._ask_endpoint = ask
        self._close_late = close_late
        self._clock = clock
        self._answer: Answer | None = None
        self._error: Exception | None = None
        self._began = 0.0
        self.hedge: Candidate | None = None

    async def run(self, admission: Admission, delay: float, budget: HedgeBudget) -> Answer:
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
                    await self._ask(admission, hedged=False)
                if self._answer is not None or self._error is not None or self.hedge is None:
                    tasks.cancel_scope.cancel()
        except BaseException as error:
            if (unheard := self._answer) is not None:  # the caller was cancelled just as the answer came
                unheard.candidate.shared.released(unheard.ticket)
                await self._close_late(unheard.value)
            if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                raise error.exceptions[0] from None  # KeyboardInterrupt, say: the group around it is our task group's
            raise
        if self._answer is not None:
            return self._answer
        try:
            raise self._error if self._error is not None else self._selection.all_failed(self._clock.now())
        finally:
            self._error = None  # exception -> traceback -> frame -> exception would be a reference cycle

    async def _second(self, delay: float, budget: HedgeBudget, first: anyio.CancelScope) -> None:
        while (wait := self._began + delay - self._clock.now()) > 0:  # again if the first call has moved on
            await self._clock.sleep(wait)
        if not budget.take():
            return
        admission = None
        try:
            admission = self._selection.another(self._clock.now())
        except Exception as error:  # noqa: BLE001 - a strategy of the user's; a task group would wrap it
            self._error = error
        if admission is None:
            budget.give_back()
        else:
            self.hedge = admission[0]
            await self._ask(admission, hedged=True)
        if self._answer is not None or self._error is not None:
            first.cancel()

    async def _ask(self, admission: Admission | None, *, hedged: bool) -> None:
        try:
            while admission is not None:
                candidate, ticket = admission
                started = self._clock.now()
                if not hedged:
                    self._began = started
                try:
                    value = await self._ask_endpoint(candidate)
                except Exception as error:  # noqa: BLE001 - it decides where to go, or is raised when both have ended
                    after = self._selection.after(candidate, ticket, started, self._clock.now(), error)
                    if after is RAISE:
                        self._error = error
                        return
                    await close_replaced(error, after, self._selection)
                    admission = after
                except BaseException:
                    if self._answer is not None:
                        self._selection.beaten()
                        now = self._clock.now()
                        candidate.shared.lost(ticket, now, now - started)
                    else:
                        candidate.shared.released(ticket)
                    raise
                else:
                    if self._answer is None and self._error is None:
                        self._answer = Answer(value, candidate, ticket, started, hedged)
                    else:
                        self._selection.beaten()
                        candidate.shared.released(ticket)
                        await self._close_late(value)
                    return
        except Exception as error:  # noqa: BLE001 - a strategy of the user's; a task group would wrap it
            self._error = error
