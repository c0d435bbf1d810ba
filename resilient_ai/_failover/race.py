"""A hedged call: ask the first endpoint, another one too if it is slow, and take the first answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from resilient_ai._core.deadline import seconds_left

from .selection import RAISE, Answer, close_replaced
from .stall import LONG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from resilient_ai._core.beside import BesideTasks
    from resilient_ai._core.clock import Clock

    from .candidate import Candidate
    from .hedge import HedgeBudget
    from .selection import Admission, EndpointSelection
    from .ticket import Ticket

_LEAST_PAUSE = 0.25  # least seconds between two checks whether an endpoint hangs, or has forgotten a call
_CHECKS = 4  # whether it hangs, in the time of an average answer


class FirstCall(NamedTuple):
    """
    The first call of a race, which has begun on the fast path.

    Attributes:
        ask: Returns its outcome.
        started: When it began, in monotonic seconds.
        known: Whether the race has already run alongside it.
    """

    ask: Callable[[Candidate], Awaitable[Any]]
    started: float
    known: bool


class Race:
    """
    One call that may be sent to two endpoints at a time.

    Args:
        selection: The selection; each of the two attempts moves on by itself when its endpoint fails.
        ask: Asks one endpoint.
        close_late: Closes an answer that came too late.
        clock: The registry's clock.
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
        self._first: Candidate | None = None
        self._began = 0.0
        self._stalled = False  # whether the first endpoint may hang
        self._usual = 0.0  # seconds that its answers usually take
        self._running = 0  # calls in flight, including those admitted but not begun
        # Which endpoint each call asks, and since when; the race itself knows the first one.
        self._under_way: dict[object, tuple[Candidate, float]] = {}
        self.hedge: Candidate | None = None

    async def run(
        self, admission: Admission, delay: float, budget: HedgeBudget, first: FirstCall | None = None
    ) -> Answer:
        """
        Ask the first endpoint, and after `delay` seconds without an answer another one too.

        An endpoint that answers again after a stall has forgotten the calls from before: it is asked once more.

        Raises:
            AllEndpointsFailedError: Neither found an endpoint that answers.
            Exception: The caller's own mistake, unchanged.
        """

        async def both() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._ask_beside, delay, budget, tasks)
                await self._ask(admission, tasks, first)

        return await self._answer_of(both)

    def begin_beside(self, candidate: Candidate, started: float, budget: HedgeBudget, tasks: BesideTasks) -> None:
        """Ask another endpoint alongside a call that began at `started`, longer ago than the delay."""
        self._note_first(candidate, started)
        self._running += 1
        self._under_way[self] = candidate, started
        tasks.start_soon(self._ask_beside, 0.0, budget, tasks)

    async def join(self, admission: Admission, first: FirstCall, tasks: BesideTasks) -> Answer:
        """Continue the race when that call is over, like `run`."""

        async def both() -> None:
            async with tasks:
                await self._ask(admission, tasks, first)

        return await self._answer_of(both)

    async def _answer_of(self, both: Callable[[], Awaitable[None]]) -> Answer:
        try:
            await both()
        except BaseException as error:
            if (unheard := self._answer) is not None:  # the caller was cancelled just as the answer came
                unheard.candidate.shared.released(unheard.ticket)
                await self._close_late(unheard.value)
            if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                # Such as KeyboardInterrupt; the group around it comes from our task group.
                raise error.exceptions[0] from None
            raise
        if self._answer is not None:
            return self._answer
        try:
            raise self._error if self._error is not None else self._selection.all_failed(self._clock.now())
        finally:
            self._error = None  # exception -> traceback -> frame -> exception would be a reference cycle

    async def _ask_beside(self, delay: float, budget: HedgeBudget, tasks: TaskGroup | BesideTasks) -> None:
        while (wait := self._began + self._delay(delay) - self._clock.now()) > 0:  # again if the first call moved on
            await self._clock.sleep(wait)
        try:
            # The answer may have come in the same turn of the event loop, after a stall of that, say.
            if not self._has_ended():
                self._check_for_a_hang()
                self._hedge(budget, tasks)
            while not self._has_ended() and not budget.off:
                await self._clock.sleep(max(_LEAST_PAUSE, self._usual / (_CHECKS if self.hedge is None else 1)))
                if self._has_ended():
                    return
                if self.hedge is None and self._check_for_a_hang():
                    self._hedge(budget, tasks)
                if (admission := self._asked_again()) is not None:
                    self._begin(admission, tasks)
        finally:
            self._stop_waiting()

    def _check_for_a_hang(self) -> bool:
        first = self._first
        if hangs := first is not None and first.shared.hangs(self, self._began, self._clock.now()):
            self._stalled = True
        return hangs

    def _stop_waiting(self) -> None:
        if self._first is not None:
            self._first.shared.stopped_waiting(self)

    def _hedge(self, budget: HedgeBudget, tasks: TaskGroup | BesideTasks) -> None:
        """Ask another endpoint too, if one may be asked."""
        # If the first endpoint hangs, it does not work on its call, so that a second call is no extra work.
        free = self._stalled and not budget.off
        if free or budget.take():
            if (admission := self._another()) is not None:
                self._begin(admission, tasks)
            elif not free:
                budget.give_back()

    def _has_ended(self) -> bool:
        return self._answer is not None or self._error is not None or not self._running

    def _another(self) -> Admission | None:
        try:
            return self._selection.another(self._clock.now(), seconds_left())
        except Exception as error:  # noqa: BLE001 - a strategy of the user's; a task group would wrap it
            self._error = error
            return None

    def _asked_again(self) -> Admission | None:
        """Admission to an endpoint that has forgotten our call to it; None if there is none."""
        now = self._clock.now()
        for call, (candidate, started) in self._under_way.items():
            health = candidate.health
            forgotten = health.stall.has_outlived(started, now, health.latency())
            if forgotten and (ticket := candidate.shared.admit(now, forced=True)) is not None:
                self._under_way[call] = candidate, now
                return candidate, ticket
        return None

    def _begin(self, admission: Admission, tasks: TaskGroup | BesideTasks) -> None:
        self.hedge = admission[0]
        self._running += 1
        tasks.start_soon(self._ask_hedged, admission, tasks)

    async def _ask_hedged(self, admission: Admission, tasks: TaskGroup | BesideTasks) -> None:
        self._running -= 1  # `_ask` counts it
        await self._ask(admission, tasks, hedged=True)

    def _delay(self, delay: float) -> float:
        return min(delay, LONG * self._usual) if self._stalled and self._usual else delay

    def _note_first(self, candidate: Candidate, started: float) -> None:
        self._stop_waiting()
        health = candidate.health
        self._first = candidate
        self._began, self._stalled, self._usual = started, health.stalled, health.latency() or 0.0

    async def _ask(
        self,
        admission: Admission | None,
        tasks: TaskGroup | BesideTasks,
        first: FirstCall | None = None,
        *,
        hedged: bool = False,
    ) -> None:
        call: object = self if first is not None else object()
        if first is None or not first.known:
            self._running += 1
        try:
            while admission is not None:
                candidate, ticket = admission
                started = self._clock.now() if first is None else first.started
                if first is None or not first.known:
                    self._under_way[call] = candidate, started
                    if not hedged:
                        self._note_first(candidate, started)
                ask, first = self._ask_endpoint if first is None else first.ask, None
                try:
                    value = await ask(candidate)
                except Exception as error:  # noqa: BLE001 - it decides where to go, or is raised when both have ended
                    after = self._selection.after(candidate, ticket, started, self._clock.now(), error)
                    if after is RAISE:
                        self._error = error
                        break
                    await close_replaced(error, after, self._selection)
                    admission = after
                except BaseException:
                    self._cancelled(candidate, ticket, started)
                    raise
                else:
                    if self._answer is None and self._error is None:
                        self._answer = Answer(value, candidate, ticket, started, hedged)
                    else:
                        self._selection.beaten()
                        candidate.shared.released(ticket)
                        await self._close_late(value)
                    break
        except Exception as error:  # noqa: BLE001 - a strategy of the user's; a task group would wrap it
            self._error = error
        finally:
            self._running -= 1
            self._under_way.pop(call, None)
        if self._has_ended():
            tasks.cancel_scope.cancel()

    def _cancelled(self, candidate: Candidate, ticket: Ticket, started: float) -> None:
        """Give back the ticket of a call that another answer, or its caller, has ended."""
        now = self._clock.now()
        if (answer := self._answer) is not None:
            self._selection.beaten()
            candidate.shared.lost(ticket, now, now - started, now - answer.started)
        else:
            candidate.shared.left(ticket, now, now - started)
