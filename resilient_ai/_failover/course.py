"""The course of a call through a failover: ask an endpoint, and after a failure another one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_ai._classification.error_rules import rejection
from resilient_ai._core.backend import LOCK_FREE, backend
from resilient_ai._core.call_facts import watching
from resilient_ai._core.callers_deadline import Patience
from resilient_ai._core.early_end import OVER, cancelled, within
from resilient_ai._core.errors import CallTimeoutError, RejectedResultError, is_wrong_call
from resilient_ai._core.patience import told_patience
from resilient_ai._core.read_once import ReadOnce
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.started_call import StartedCall, begun, ended_early
from resilient_ai._core.streams import dispose, stream_of

from .events import Hedged
from .race import FirstCall, Race
from .selection import RAISE, Answer, EndpointSelection, SelectionRules, ask_in_turn, close_replaced
from .time_for_next import seconds_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterator

    from resilient_ai._classification.error_rules import Reject
    from resilient_ai._core.beside import BesideTasks
    from resilient_ai._core.time_bound import Share

    from .candidate import Candidate
    from .config import FailoverConfig
    from .health import EndpointHealth
    from .selection import Admission
    from .state import FailoverState
    from .ticket import Ticket


@dataclass(frozen=True, slots=True)
class FailoverSite:
    """
    One failover on one function.

    Attributes:
        config: Its settings.
        failover: Its state.
        candidates: Its endpoints.
        turns: First choices, made without checking which endpoints are up; None if the strategy has to know.
        rules: The rules of its selections.
        reject: Judges results; None: all results are good.
        now: The clock, in monotonic seconds.
        plain: Whether the function is plain, so that its callers block.
    """

    config: FailoverConfig
    failover: FailoverState
    candidates: tuple[Candidate, ...]
    turns: Iterator[Candidate] | None
    rules: SelectionRules
    reject: Reject | None
    now: Callable[[], float]
    plain: bool

    def healths_beside(self, asked: Container[str]) -> list[EndpointHealth]:
        """The health of each available endpoint other than these."""
        now = self.now()
        return [each.health for each in self.candidates if each.name not in asked and each.available(now)]


class Beside(NamedTuple):
    """A race that has begun alongside a call on the fast path."""

    race: Race
    selection: EndpointSelection
    tasks: BesideTasks


class FailoverCall:
    """One call."""

    __slots__ = ("_args", "_fn", "_instance", "_kwargs", "_late", "_must_not_repeat", "_once", "_own_error", "_site")

    def __init__(
        self,
        site: FailoverSite,
        fn: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        has_begun: bool = False,
    ) -> None:
        self._site = site
        self._fn = fn
        self._instance = instance
        self._args = args
        self._kwargs = kwargs
        self._must_not_repeat: bool | None = None  # not evaluated yet
        self._own_error: Exception | None = None
        self._late: Exception | None = None  # the error for an endpoint that was left for the next one
        # Arguments that are used up by an attempt.
        self._once = ReadOnce.among(args, kwargs, begun=has_begun or begun(fn) is not None)

    # -- for the selection

    def must_not_repeat(self) -> bool:
        if self._must_not_repeat is None:
            idempotent, instance = self._site.config.idempotent, self._instance
            if not isinstance(idempotent, bool):
                given = self._args if instance is None else (instance, *self._args)
                idempotent = idempotent(*given, **self._kwargs)
            self._must_not_repeat = not idempotent
        return self._must_not_repeat

    def used_up(self) -> str | None:
        return self._once.used_up() if self._once is not None else None

    def is_own_error(self, error: Exception) -> bool:
        own, self._own_error = self._own_error, None  # error -> traceback -> frame -> call -> error is a cycle
        return error is own

    def was_left(self, error: Exception) -> bool:
        late, self._late = self._late, None
        return error is late

    # -- functions

    async def result(self) -> Any:
        """The result of the first endpoint that answers."""
        started, candidate, ticket = self._first_choice()
        if candidate is None or ticket is None:
            if not self._site.plain:
                await backend().checkpoint_if_cancelled()
            selection = self._selection()
            return self._settle(selection, await self._in_turn(selection, selection.begin(started)))
        try:
            if (share := ended_early(self._fn, self._site.failover)) is not None:
                result = await self._after_leaving(share, candidate)
            elif (patience := self._patience()) is None:
                result = await self._ask(candidate)
            else:
                result = await self._ask_within(patience, candidate, ())
        except Exception as error:
            selection = self._selection()
            selection.mark_tried(candidate)
            admission = selection.after(candidate, ticket, started, self._site.now(), error)
            if admission is RAISE:
                raise
            await close_replaced(error, admission, selection)
        except BaseException:
            candidate.shared.released(ticket)
            raise
        else:
            self._settle_first(candidate, ticket, started, result)
            return result
        return self._settle(selection, await self._in_turn(selection, admission))

    def _first_choice(self) -> tuple[float, Candidate | None, Ticket | None]:
        """The start time, and an endpoint chosen without a lock or a selection; its ticket is None if it is not up."""
        fn, turns = self._fn, self._site.turns
        candidate: Candidate | None
        ticket: Ticket | None = None
        if isinstance(fn, StartedCall) and (choice := fn.take_choice()) is not None:
            started, (candidate, ticket, _) = fn.started, choice
        else:
            started, candidate = self._site.now(), next(turns) if turns is not None else None
        if candidate is not None and ticket is None:
            ticket = candidate.health.open_ticket if LOCK_FREE else None
            if ticket is not None:
                ticket.flights.count += 1
        return started, candidate, ticket

    async def _ask(self, candidate: Candidate) -> Any:
        try:
            result = await candidate.call(self._fn, self._instance, candidate.handed + self._args, self._kwargs)
        except TypeError as error:
            self._note_a_wrong_call(error)
            raise
        if (reject := self._site.reject) is not None:
            if type(result) is ReturnedStream:
                await stream_of(result).look_at_begun(partial(self._judge, reject))
            else:
                self._judge(reject, result)
        return result

    def _judge(self, reject: Reject, result: Any) -> None:
        function = self._site.rules.function
        try:
            error_type = rejection(reject, result, function)
        except Exception as error:
            self._own_error = error
            raise
        if error_type is not None:
            raise RejectedResultError(result, error_type, function=function)

    def _settle_first(self, candidate: Candidate, ticket: Ticket, started: float, result: Any) -> None:
        ended = self._site.now()
        if type(result) is ReturnedStream:
            self._hold(result, Answer(result, candidate, ticket, started), None, ended)
        else:
            self._site.failover.good.one_more()
            candidate.shared.succeeded(ticket, ended, ended - started)
        if (seen := watching()) is not None:
            seen.endpoint = candidate.name
            seen.endpoints_tried += (candidate.name,)

    def _settle(self, selection: EndpointSelection, answer: Answer) -> Any:
        ended = self._site.now()
        if type(answer.value) is ReturnedStream:
            stream = answer.value
            self._hold(stream, answer, selection, ended)
            # From here on, another endpoint would repeat what the consumer has already seen.
            selection.commit(ended, answer.candidate)
            return stream
        self._site.failover.good.one_more()
        try:
            answer.candidate.shared.succeeded(answer.ticket, ended, ended - answer.started)
        finally:
            selection.commit(ended, answer.candidate)
        return answer.value

    def _hold(self, result: ReturnedStream, answer: Answer, selection: EndpointSelection | None, opened: float) -> None:
        """Let a stream keep its ticket until it ends."""
        reject = self._site.reject
        look = partial(self._judge, reject) if reject is not None else None
        stream_of(result).add(_FailedOverStream(self, answer, selection, opened - answer.started), look)

    def stream_ended(self, answer: Answer, seconds: float) -> None:
        """Take in that a stream was read to its end; its first item took `seconds`."""
        self._site.failover.good.one_more()
        answer.candidate.shared.succeeded(answer.ticket, self._site.now(), seconds)

    def stream_broke(self, answer: Answer, selection: EndpointSelection | None, error: Exception) -> None:
        """Take in that a stream failed after its commit point: no other endpoint can finish it."""
        self._site.failover.failed()
        if self.is_own_error(error):
            answer.candidate.shared.released(answer.ticket)
        else:
            broken = selection or self._selection()
            broken.broke(answer.candidate, answer.ticket, answer.started, self._site.now(), error)

    async def hedged_result(self) -> Any:
        """The same with hedging: a second endpoint is asked if the first is slow."""
        if (first := begun(self._fn)) is not None:
            return await self._hedged_from(first)
        if (delay := self._hedge_delay()) is None:
            started = self._site.now()
            result = await self.result()
            self._site.failover.delay.learn(self._site.now() - started)
            return result
        await backend().checkpoint_if_cancelled()
        selection, started = self._selection(), self._site.now()
        self._site.failover.budget.called()
        admission = self._promised(selection, started) or selection.begin(started)
        race = self._new_race(selection)
        run = race.run(admission, delay, self._site.failover.budget)
        return await self._run_race(race, selection, started, delay, run)

    async def _hedged_from(self, first: StartedCall) -> Any:
        """Continue a call that has begun on the fast path, and the race that may have begun alongside it."""
        site, started, delay = self._site, first.started, self._site.failover.delay.seconds() or 0.0
        candidate, ticket, beside = first.take_choice()
        call = FirstCall(self._ask, started, known=beside is not None)
        if beside is not None:
            selection, race = beside.selection, beside.race
            run = race.join((candidate, ticket), call, beside.tasks)
        elif first.error is not None and not isinstance(first.error, Exception):  # the caller has left
            try:
                return await self._ask(candidate)
            except BaseException:
                now = site.now()
                candidate.shared.left(ticket, now, now - started)
                raise
        else:
            selection = self._selection()
            selection.mark_tried(candidate)
            race = self._new_race(selection)
            run = race.run((candidate, ticket), delay, site.failover.budget, call)
        return await self._run_race(race, selection, started, delay, run)

    def _promised(self, selection: EndpointSelection, now: float) -> Admission | None:
        """The endpoint that the fast path had chosen, if it may be asked; its circuit may need a probe."""
        choice = self._fn.take_choice() if isinstance(self._fn, StartedCall) else None
        if choice is None or (ticket := choice[0].admit(now)) is None:
            return None
        selection.mark_tried(choice[0])
        return choice[0], ticket

    def race_beside(self, candidate: Candidate, started: float, tasks: BesideTasks) -> Beside | None:
        """Begin a race alongside a call on the fast path; None if the call must not be repeated."""
        if self._once is not None or self._site.failover.budget.off:
            return None
        selection = self._selection()
        selection.mark_tried(candidate)
        race = self._new_race(selection)
        race.begin_beside(candidate, started, self._site.failover.budget, tasks)
        return Beside(race, selection, tasks)

    # -- inside

    def _new_race(self, selection: EndpointSelection) -> Race:
        return Race(selection, self._ask, dispose, self._site.rules.registry.clock)

    def _patience(self) -> Patience | None:
        return None if self._site.plain else told_patience()

    def _selection(self) -> EndpointSelection:
        return EndpointSelection(self._site.rules, self._site.candidates, self)

    async def _in_turn(
        self,
        selection: EndpointSelection,
        admission: Admission | None,
    ) -> Answer:
        async def ask(candidate: Candidate) -> Any:
            if (patience := self._patience()) is None:
                return await self._ask(candidate)
            return await self._ask_within(patience, candidate, selection.tried)

        return await ask_in_turn(selection, admission, ask, self._site.now)

    async def _ask_within(self, patience: Patience, candidate: Candidate, tried: tuple[str, ...]) -> Any:
        """Ask an endpoint on behalf of a caller with a deadline; leave it while there is time to ask another one."""
        seconds, name = self._seconds_for(candidate, tried, patience.seconds), candidate.name
        if seconds is None:
            return await self._ask(candidate)
        ask, shorter = partial(self._ask, candidate), Patience(seconds, patience.clock)
        result = await within(shorter, lambda *_call: ask(), None, None, (), {})
        if result is OVER:
            raise self._left(name, seconds)
        return result

    async def _after_leaving(self, share: Share, candidate: Candidate) -> Any:
        """Finish the call of an endpoint that was left on the fast path."""
        result = await cancelled(lambda *_call: self._ask(candidate))
        if result is OVER:
            raise self._left(candidate.name, share.seconds)
        return result

    def _left(self, name: str, seconds: float) -> CallTimeoutError:
        self._late = CallTimeoutError(name, timeout_seconds=seconds)
        self._late.add_note("resilient_ai: the rest of the caller's deadline is kept for the next endpoint")
        return self._late

    def _seconds_for(self, candidate: Candidate, tried: tuple[str, ...], left: float) -> float | None:
        site, asked = self._site, {*tried, candidate.name}
        if len(asked) >= site.rules.most or self._once is not None or self.must_not_repeat():
            return None
        return seconds_for(candidate.health, site.healths_beside(asked), left)

    def _hedge_delay(self) -> float | None:
        """Seconds after which another endpoint is asked too; None: never in this call."""
        if self._site.config.hedge_after is None or self._once is not None or self.must_not_repeat():
            return None
        return self._site.failover.delay.seconds()

    async def _run_race(
        self, race: Race, selection: EndpointSelection, started: float, delay: float, run: Awaitable[Answer]
    ) -> Any:
        failover, registry = self._site.failover, self._site.rules.registry
        try:
            answer = await run
        except BaseException:
            selection.abandon()
            raise
        failover.delay.learn(self._site.now() - started)
        if race.hedge is not None:
            failover.hedged(won=answer.hedged)
            if registry.hears(Hedged):
                try:
                    registry.emit(Hedged(failover.name, race.hedge.name, delay, answer.hedged))
                except BaseException:  # Ctrl-C in a listener
                    answer.candidate.shared.released(answer.ticket)
                    selection.abandon()
                    raise
        return self._settle(selection, answer)

    def _note_a_wrong_call(self, error: Exception) -> None:
        """Add a note to the error of a caller that has passed the endpoint itself."""
        kinds = tuple(type(each.handed[0]) for each in self._site.candidates)
        if is_wrong_call(error) and any(isinstance(each, kinds) for each in (*self._args, *self._kwargs.values())):
            error.add_note("resilient_ai: failover hands the endpoint in; leave it out of the call")


class _FailedOverStream:
    """Holds the ticket of an endpoint while a stream is read."""

    __slots__ = ("_answer", "_call", "_seconds", "_selection")

    def __init__(self, call: FailoverCall, answer: Answer, selection: EndpointSelection | None, seconds: float) -> None:
        self._call = call
        self._answer = answer
        self._selection = selection
        self._seconds = seconds  # until the commit point; after that the consumer sets the pace
        answer.value = None  # the value is the stream, which refers to this object: a reference cycle

    def ended(self) -> None:
        self._call.stream_ended(self._answer, self._seconds)

    def broke(self, error: Exception) -> None:
        self._call.stream_broke(self._answer, self._selection, error)

    def left(self) -> None:
        self._answer.candidate.shared.released(self._answer.ticket)
