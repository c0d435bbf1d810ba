"""A quota of requests on the fast path: while there is room, a call takes its part of it with one look and one lock."""

from __future__ import annotations

from functools import partial
from sys import modules
from typing import TYPE_CHECKING, Any

from resilient_ai._core.call_facts import ever_marked, is_marked
from resilient_ai._core.errors import mark_if_wrong_call
from resilient_ai._core.fast_path import Call, Course, FastPath, StartedCall, is_watched_or_bounded, within_time
from resilient_ai._core.opening import gives_items

from .estimate import TokenEstimate
from .gate import SAYS_NOTHING, Sent

if TYPE_CHECKING:
    from .gate import RateGate


def add_quota(path: FastPath, gate: RateGate) -> bool:
    """
    Put a quota in front of the function.

    Returns:
        False where tokens are limited: then there is always something to decide.
    """
    if gate.counts_tokens:
        return False
    path.shape = partial(_through_quota, gate)
    return True


def _through_quota(gate: RateGate, course: Course, path: FastPath) -> Call:
    estimate = TokenEstimate(None)  # no call takes tokens
    quota, lock, now, counts = gate.quota, gate.lock, course.now, course.counts
    behind = path.gates.get(None)
    function, within = course.function, within_time(behind, course.function)
    bounded, scoped = path.bounded, path.scoped
    known: type = type(None)  # the latest type of result, which is no stream
    says_nothing = True  # whether that has no headers

    async def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal known, says_nothing
        started = now()
        ticket = None if behind is None else behind.state.open_ticket
        if (
            (behind is not None and ticket is None)
            or (((ever_marked and is_marked()) or scoped or "trio" in modules) and is_watched_or_bounded(bounded))
            or not quota.enter_quickly(started, lock)
        ):
            return await course.take_over(args, kwargs)
        try:
            if within is None:
                result = await (function(*args, **kwargs) if kwargs else function(*args))
            else:
                result = await within(args, kwargs)
        except BaseException as error:  # noqa: BLE001 - the layers raise it again
            mark_if_wrong_call(error)
            call = StartedCall(started, error, ticket, Sent(0.0, 0.0, estimate, started, quota))
        else:
            if type(result) is not known:
                if gives_items(type(result)):
                    sent = Sent(0.0, 0.0, estimate, started, quota)
                    return await course.take_over(args, kwargs, StartedCall(started, None, ticket, sent, result))
                known, says_nothing = type(result), type(result) in SAYS_NOTHING
            for each in counts:
                each.ok += 1
            ended = now()
            if behind is not None:
                behind.good(ticket, started, ended)
            if says_nothing:
                with lock:
                    quota.succeeded += 1
                    quota.answer_time.add(ended - started)
            else:
                gate.succeeded(Sent(0.0, 0.0, estimate, started, quota), result)
            return result
        return await course.take_over(args, kwargs, call)

    return called
