"""A failover on the fast path: while the chosen endpoint is up, it is taken with one look and no lock."""

from __future__ import annotations

from sys import modules
from typing import TYPE_CHECKING, Any

from resilient_ai._core.call_facts import ever_marked, is_marked
from resilient_ai._core.errors import mark_if_wrong_call
from resilient_ai._core.fast_path import (
    MOST_ANSWER_TIMES,
    Call,
    Course,
    FastPath,
    StartedCall,
    within_time,
)
from resilient_ai._core.opening import gives_items
from resilient_ai._core.report import SuccessCount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .candidate import Candidate


def through_candidates(
    turns: Iterator[Candidate], candidates: tuple[Candidate, ...], course: Course, path: FastPath
) -> Call:
    """The fast path of a stack with a failover; it has one gate for each endpoint, or none."""
    for each in candidates:
        each.gate, each.permits = path.gates.get(each.name), path.permits.get(each.name)
        each.within = within_time(each.gate, course.function)
    now, function, method, scoped = course.now, course.function, course.method, path.scoped
    # Three are counted without a loop, whose iterator would take as long as counting them.
    first, second, third, *others = (*course.counts, *[SuccessCount()] * (3 - len(course.counts)))

    known: type = type(None)  # the latest type of result, which is no stream

    async def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal known
        started, candidate = now(), next(turns)
        health, gate = candidate.health, candidate.gate
        ticket: Any = None
        permit: Any = None
        if (
            (held := health.open_ticket) is None
            or (gate is not None and (ticket := gate.state.open_ticket) is None)
            or (((ever_marked and is_marked()) or scoped or "trio" in modules) and course.is_watched_or_bounded())
            or ((permits := candidate.permits) is not None and (permit := permits.enter(started)) is None)
        ):
            return await course.take_over(args, kwargs, StartedCall(started, choice=(candidate, None)))
        held.flights.count += 1
        try:
            if not method:
                given = candidate.handed + args
            elif len(args) == 2:  # the usual call; slicing the tuple would take a bare await more
                given = (args[0], candidate.handed[0], args[1])
            else:
                given = (args[0], candidate.handed[0], *args[1:])
            within = candidate.within
            if within is None:
                result = await (function(*given, **kwargs) if kwargs else function(*given))
            else:
                result = await within(given, kwargs)
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            call = StartedCall(started, error, ticket, (candidate, held), permit=permit)
        else:
            if type(result) is not known:
                if gives_items(type(result)):
                    call = StartedCall(started, None, ticket, (candidate, held), result, permit)
                    return await course.take_over(args, kwargs, call)
                known = type(result)
            ended = now()
            first.ok += 1
            second.ok += 1
            third.ok += 1
            if others:
                for count in others:
                    count.ok += 1
            # What `EndpointHealth.succeed` does for a call that held the open ticket, without its lock: CPython
            # switches threads at calls and jumps only, and there is none between reading and writing a number here.
            # The end of a silence is not noted: only hedged calls ask for that, and they do not come here.
            held.flights.count -= 1
            health.ok += 1
            health.samples.append((started, ended))
            if gate is not None:
                state = gate.state
                # The list is read before the ticket: a reset replaces them in the other order.
                answer_times = state.answer_times
                if ticket is state.fast_ticket and len(answer_times) < MOST_ANSWER_TIMES:
                    answer_times.append(ended)
                    answer_times.append(started)
                else:
                    gate.good(ticket, started, ended)
            if permits is not None:
                permits.succeeded(permit, ended, result)
            return result
        return await course.take_over(args, kwargs, call)

    return called
