"""
The good path: what a whole stack does while nothing is wrong, in one coroutine.

Layer by layer a call takes one coroutine for each policy, and each reads the clock for itself. But while all gates
are open and the function answers, no layer decides anything: it only writes down that all is well. So a stack of
policies that can say what that is has one coroutine for all of them, which takes half the time. At the first thing
out of the ordinary the layers take over: before the call where a gate is shut or somebody watches, and after a
failure with what had begun.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

from resilient_ai._circuit_breaker.state import MOST_MOMENTS

from .backend import cancelled
from .errors import mark_if_wrong_call
from .watch import watching

if TYPE_CHECKING:
    from resilient_ai._circuit_breaker.handle import CircuitBreaker
    from resilient_ai._failover.strategy import Lane, Quick

    from .report import Tally

# (bound function, instance or None, positional arguments, keyword arguments) -> coroutine.
# The instance is what a method is bound to; the bound function already knows it. Layers of a stack that has a good
# path are handed, after those, what that had begun.
Handler = Callable[..., Coroutine[Any, Any, Any]]


class Begun:
    """A call that the good path hands over to the layers, after the function failed or, with a lane, before it."""

    __slots__ = ("error", "held", "lane", "started", "ticket")

    def __init__(
        self,
        started: float,
        error: BaseException | None = None,
        ticket: Any = None,
        lane: Lane | None = None,
        held: Any = None,
    ) -> None:
        self.started = started
        self.error = error  # what the function raised
        self.ticket = ticket  # the circuit's
        self.lane = lane  # the endpoint whose turn it is
        self.held = held  # the endpoint's ticket

    def fail(self) -> NoReturn:
        """Raise what the function raised, once: an error knows the frames it passed through, and they know this."""
        error, self.error = self.error, None
        try:
            raise error  # type: ignore[misc]  # who calls this has looked
        finally:
            del error


class GoodPath:
    """
    Put together by the policies of one stack, outermost first.

    Attributes:
        counts: What counts each good call.
        pick: Whose turn it is among the lanes of a failover.
        lanes: All of them. Each knows what lies below it.
        breaker: The circuit, where it is not one for each lane.
        bounded: Runs the function within its timeout, likewise; None: there is none.
        timed: Whether somebody wants to know when the call began, though nothing above needs it.
        ended: Whether nothing may come below.
    """

    __slots__ = ("bounded", "breaker", "counts", "ended", "lanes", "pick", "timed")

    def __init__(self) -> None:
        self.counts: list[Tally] = []
        self.pick: Quick | None = None
        self.lanes: tuple[Lane, ...] = ()
        self.breaker: CircuitBreaker | None = None
        self.bounded: Handler | None = None
        self.timed = self.ended = False

    def of(self, function: Callable[..., Any], layers: Handler, now: Callable[[], float]) -> Callable[..., Any]:
        """One coroutine for the whole stack on a function; `layers` takes over when something is wrong."""
        counts = tuple(self.counts)
        if self.pick is not None:
            calls = [_bounded(function, lane.bounded) for lane in self.lanes]
            return _through_lanes(function, layers, now, counts, self.pick, calls)
        if self.breaker is not None:
            call = _bounded(function, self.bounded)
            return _through_circuit(function, layers, now, counts, self.breaker, call)
        return _counted(function, layers, now if self.timed else None, counts)


def _bounded(function: Callable[..., Any], bounded: Handler | None) -> Callable[..., Any]:
    return function if bounded is None else lambda *args, **kwargs: bounded(function, None, args, kwargs)


# The three differ in what they look at and write down; one that could do all would take two bare awaits more.


def _counted(
    function: Callable[..., Any], layers: Handler, now: Callable[[], float] | None, counts: tuple[Tally, ...]
) -> Callable[..., Any]:
    async def called(*args: Any, **kwargs: Any) -> Any:
        started = now() if now is not None else 0.0
        if watching() is not None:
            return await layers(function, None, args, kwargs)
        try:
            # An empty dict would be copied, which takes a quarter of a bare await.
            result = await (function(*args, **kwargs) if kwargs else function(*args))
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            begun = Begun(started, error)
        else:
            for each in counts:
                each.ok += 1
            return result
        return await layers(function, None, args, kwargs, begun)

    return called


def _through_circuit(
    function: Callable[..., Any],
    layers: Handler,
    now: Callable[[], float],
    counts: tuple[Tally, ...],
    breaker: CircuitBreaker,
    call: Callable[..., Any],
) -> Callable[..., Any]:
    circuit = breaker.circuit

    async def called(*args: Any, **kwargs: Any) -> Any:
        started = now()
        # A closed circuit is asked with one look and no lock.
        if (ticket := circuit.open_pass) is None or (counts and watching() is not None):
            if not counts and started < circuit.shut_until and not cancelled():
                raise breaker.refusal(started)
            return await layers(function, None, args, kwargs)
        try:
            result = await (call(*args, **kwargs) if kwargs else call(*args))
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            begun = Begun(started, error, ticket)
        else:
            ended = now()
            if counts:
                for each in counts:
                    each.ok += 1
            # The list first, the pass after: the other way round a reset could come between.
            moments = circuit.moments
            if ticket is circuit.quiet_pass and len(moments) < MOST_MOMENTS:
                moments.append(ended)
                moments.append(started)
            else:
                breaker.succeeded(ticket, ended, ended - started)
            return result
        return await layers(function, None, args, kwargs, begun)

    return called


def _through_lanes(
    function: Callable[..., Any],
    layers: Handler,
    now: Callable[[], float],
    counts: tuple[Tally, ...],
    pick: Quick,
    calls: list[Callable[..., Any]],
) -> Callable[..., Any]:
    async def called(*args: Any, **kwargs: Any) -> Any:
        started, lane = now(), pick()
        health, breaker = lane.health, lane.breaker
        ticket: Any = None
        if (
            (held := health.open_pass) is None
            or (breaker is not None and (ticket := breaker.circuit.open_pass) is None)
            or watching() is not None
        ):
            return await layers(function, None, args, kwargs, Begun(started, lane=lane))
        held.flights.count += 1
        try:
            call, handed = calls[lane.index], lane.handed + args
            result = await (call(*handed, **kwargs) if kwargs else call(*handed))
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            begun = Begun(started, error, ticket, lane, held)
        else:
            ended = now()
            for each in counts:
                each.ok += 1
            # No more than this is a good answer to an endpoint that was up when it was asked, whatever it is now.
            # In CPython no thread switch falls between reading and writing here: no call is in between.
            held.flights.count -= 1
            health.ok += 1
            health.samples.append(ended - started)
            health.sampled_at = ended
            if breaker is not None:
                circuit = breaker.circuit
                moments = circuit.moments
                if ticket is circuit.quiet_pass and len(moments) < MOST_MOMENTS:
                    moments.append(ended)
                    moments.append(started)
                else:
                    breaker.succeeded(ticket, ended, ended - started)
            return result
        return await layers(function, None, args, kwargs, begun)

    return called
