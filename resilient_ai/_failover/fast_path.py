"""A failover on the fast path: while the chosen endpoint is up, one check is enough and no lock is taken."""

from __future__ import annotations

import math
from functools import partial
from sys import modules
from typing import TYPE_CHECKING, Any

from resilient_ai._core.call_facts import ever_watched, watching
from resilient_ai._core.callers_deadline import current_deadline, ever_timed
from resilient_ai._core.errors import mark_if_wrong_call
from resilient_ai._core.fast_path import MOST_ANSWER_TIMES, Call, Course, FastPath, within_time
from resilient_ai._core.opening import gives_items
from resilient_ai._core.read_once import ReadOnce
from resilient_ai._core.report import SuccessCount
from resilient_ai._core.started_call import StartedCall
from resilient_ai._core.time_bound import BY_LAYERS, Limit
from resilient_ai._core.watched import WatchedCall

from .hedged_path import Hedge, Hedges
from .time_for_next import seconds_for

if TYPE_CHECKING:
    from .candidate import Candidate
    from .course import FailoverSite


def _time_for(
    site: FailoverSite, left: float, candidate: Candidate, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> float:
    """The time limit of a candidate, after which its caller can still ask another one."""
    if left == math.inf or ReadOnce.among(args, kwargs) is not None:
        return left
    if site.config.idempotent is not True:  # 0 s: the layers run the call, because they ask the user's function
        return 0.0
    found = seconds_for(candidate.health, site.healths_beside((candidate.name,)), left)
    return left if found is None else found


def through_candidates(site: FailoverSite, course: Course, path: FastPath) -> Call:
    """The fast path of a stack with a failover; there is a gate for each endpoint, or none at all."""
    turns: Any = site.turns
    for each in site.candidates:
        each.gate, each.permits = path.gates.get(each.name), path.permits.get(each.name)
        each.within = within_time(each.gate, course, path.timeout)
    now, function, method, scoped = course.now, course.function, course.method, path.scoped
    hedges = None if site.config.hedge_after is None else Hedges(site, course)
    # A hedged call never leaves an endpoint; others leave one only if another one may be asked then.
    leaves = hedges is None and site.config.idempotent is not False and site.rules.most > 1
    narrower = Limit(site.failover, partial(_time_for, site)) if leaves else None
    # Three counts are written out without a loop: an iterator would cost as much as the counting.
    first, second, third, *others = (*course.counts, *[SuccessCount()] * (3 - len(course.counts)))

    known: type = type(None)  # the latest result type that is known not to be a stream

    async def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal known
        started, candidate = now(), next(turns)
        health, gate = candidate.health, candidate.gate
        ticket: Any = None
        permit: Any = None
        bound: Any = None
        hedge: Hedge | None = None
        if (
            (held := health.open_ticket) is None
            or (gate is not None and (ticket := gate.state.open_ticket) is None)
            or (
                ((ever_timed and current_deadline()) or scoped or "trio" in modules)
                and (bound := course.bound(narrower, candidate, args, kwargs)) is BY_LAYERS
            )
            or (hedges is not None and (hedge := hedges.hedge(candidate, started, bound, args, kwargs)) is None)
            or ((permits := candidate.permits) is not None and (permit := permits.enter(started, args, kwargs)) is None)
        ):
            return await course.take_over(args, kwargs, StartedCall(started, choice=(candidate, None, None)))
        held.flights.count += 1
        if hedges is not None:
            hedges.called()
        seen = watching() if ever_watched else None
        watched = None if seen is None else WatchedCall(seen, course.told, candidate.name)
        try:
            if hedges is not None and hedge is not None:
                hedge.flag = watched
                hedges.arm(hedge)
            if not method:
                given = candidate.handed + args
            elif len(args) == 2:  # the usual call; slicing the tuple would cost another bare await
                given = (args[0], candidate.handed[0], args[1])
            else:
                given = (*args[:1], candidate.handed[0], *args[1:])
            within = candidate.within
            if bound is not None:
                result = await bound.run(function, within, given, kwargs)
            elif within is None:
                result = await (function(*given, **kwargs) if kwargs else function(*given))
            else:
                result = await within(given, kwargs, started)
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            beside = None if hedge is None else hedge.end(error)
            call = StartedCall(started, error, permit, bound, ticket, (candidate, held, beside))
            if watched is not None:
                watched.failed(error, call)
        else:
            beside = None if hedge is None else hedge.end(None)
            if beside is not None or type(result) is not known:
                if beside is not None or gives_items(type(result)):
                    call = StartedCall(started, None, permit, bound, ticket, (candidate, held, beside), result)
                    if watched is not None:
                        watched.opened(result, call)
                    return await course.take_over(args, kwargs, call)
                known = type(result)
            if watched is not None:
                watched.answered(result)
            ended = now()
            first.ok += 1
            second.ok += 1
            third.ok += 1
            if others:
                for count in others:
                    count.ok += 1
            # What `EndpointHealth.succeed` does for a call with the open ticket, but without its lock: CPython
            # switches threads only at calls and jumps, and there are none between reading and writing a number here.
            # The end of a stall matters to hedged calls only.
            if hedges is not None:
                hedges.answered(health, started, ended)
            held.flights.count -= 1
            health.ok += 1
            health.samples.append((started, ended))
            if gate is not None:
                state = gate.state
                # Read the list before the ticket: a reset replaces them in the opposite order.
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
