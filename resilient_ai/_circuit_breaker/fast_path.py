"""A circuit on the fast path: while it is closed, a call checks its ticket once and takes no lock."""

from __future__ import annotations

from functools import partial
from sys import modules
from typing import TYPE_CHECKING, Any

from resilient_ai._core.backend import cancelled
from resilient_ai._core.call_facts import ever_watched, watching
from resilient_ai._core.callers_deadline import current_deadline, ever_timed
from resilient_ai._core.errors import mark_if_wrong_call
from resilient_ai._core.fast_path import MOST_ANSWER_TIMES, Call, Course, FastPath, Gate, within_time
from resilient_ai._core.opening import gives_items
from resilient_ai._core.started_call import StartedCall
from resilient_ai._core.time_bound import BY_LAYERS
from resilient_ai._core.watched import WatchedCall

if TYPE_CHECKING:
    from resilient_ai._core.handlers import Handler

    from .shared import SharedCircuit


_NONE: Any = None  # no time limit so far


def add_circuits(path: FastPath, circuits: dict[str | None, tuple[SharedCircuit, Handler | None]]) -> None:
    """
    Put circuits in front of the function.

    Args:
        path: The path of their stack.
        circuits: The circuits by endpoint, each with what runs the function within its timeout, if it has one.
    """
    for endpoint, (breaker, run) in circuits.items():
        breaker.serves(path.call_site)
        path.gates[endpoint] = Gate(breaker.circuit, breaker.good, run)
    if path.shape is None:
        path.shape = partial(_through_circuit, circuits[None][0])


def _through_circuit(breaker: SharedCircuit, course: Course, path: FastPath) -> Call:
    circuit, now, counts = breaker.circuit, course.now, course.counts
    function, within = course.function, within_time(path.gates[None], course, path.timeout)
    permits, scoped = course.permits, path.scoped
    known: type = type(None)  # the latest type of result, which is no stream

    async def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal known
        started, permit, bound = now(), None, _NONE
        if (
            (ticket := circuit.open_ticket) is None
            or (
                ((ever_timed and current_deadline()) or (counts and (scoped or "trio" in modules)))
                and (bound := course.bound()) is BY_LAYERS
            )
            or (permits is not None and (permit := permits.enter(started, args, kwargs)) is None)
        ):
            if not counts and started < circuit.refused_until and not cancelled():
                raise breaker.refusal(started)
            return await course.take_over(args, kwargs)
        seen = watching() if ever_watched else None
        watched = None if seen is None else WatchedCall(seen, course.told, None)
        try:
            if bound is not None:
                result = await bound.run(function, within, args, kwargs)
            elif within is None:
                # Passing on an empty dict would copy it, which costs a quarter of a bare await.
                result = await (function(*args, **kwargs) if kwargs else function(*args))
            else:
                result = await within(args, kwargs, started)
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            call = StartedCall(started, error, permit, bound, ticket)
            if watched is not None:
                watched.failed(error, call)
        else:
            if type(result) is not known:
                if gives_items(type(result)):
                    call = StartedCall(started, None, permit, bound, ticket, None, result)
                    if watched is not None:
                        watched.opened(result, call)
                    return await course.take_over(args, kwargs, call)
                known = type(result)
            if watched is not None:
                watched.answered(result)
            if counts:  # an iterator costs as much as a count
                for each in counts:
                    each.ok += 1
            ended = now()
            # `breaker.good` written out: calling it costs a twelfth of the whole.
            answer_times = circuit.answer_times
            if ticket is circuit.fast_ticket and len(answer_times) < MOST_ANSWER_TIMES:
                answer_times.append(ended)
                answer_times.append(started)
            else:
                breaker.succeeded(ticket, ended, ended - started)
            if permits is not None:
                permits.succeeded(permit, ended, result)
            return result
        return await course.take_over(args, kwargs, call)

    return called
