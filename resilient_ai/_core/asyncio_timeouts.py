"""
Find the `asyncio.timeout` around the running task, as far as that is possible.

asyncio has no list of timeouts. But each timeout has a timer, and the loop has a list of its timers. On Python 3.12 and
later `asyncio.wait_for` is such a timeout too; on 3.11 it runs the awaitable in another task, which cannot be detected.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - its timeouts are what this is about
import math
from functools import lru_cache
from types import MethodType
from typing import Any, Final

_MOST: Final = 256  # up to so many timers are all checked, for example after a failure
_MOST_BEFORE_A_CALL: Final = 8
# Of more timers, those that are due in time are checked if they are so few; otherwise so many of the latest.
_LATEST: Final = 16
_LATEST_BEFORE_A_CALL: Final = 4


def timeout_around(loop: Any, task: Any, *, until: float = math.inf, before_a_call: bool = False) -> float:
    """
    When the soonest `asyncio.timeout` around a task ends, on the loop's clock; inf if none is found.

    Args:
        loop: The event loop of the task.
        task: The running task.
        until: A timeout that ends later is not searched for. Most timers of a busy loop are far off.
        before_a_call: Whether to search less: of more than 8 timers only the latest 4. Otherwise, of more than 256, the
            latest 16, unless no more than 16 are due by `until`. A timeout directly around a call is among those,
            unless much has happened in the call since.
    """
    timers = getattr(loop, "_scheduled", None)  # private; uvloop does not have it
    if not timers:
        return math.inf
    most, latest = (_MOST_BEFORE_A_CALL, _LATEST_BEFORE_A_CALL) if before_a_call else (_MOST, _LATEST)
    due, ends = _due_by(timers, until, most if len(timers) <= most else latest), math.inf
    for timer in _set_last(timers, latest) if due is None else due:
        callback = timer._callback  # for a timeout its own method; None for a cancelled timer
        if type(callback) is not MethodType or type(timeout := callback.__self__) is not asyncio.Timeout:
            continue
        if getattr(timeout, "_task", None) is task and timer.when() < ends:
            ends = timer.when()
    return ends


def _due_by(timers: list[Any], until: float, most: int) -> list[Any] | None:
    """
    The timers of a heap that are due by then; None if there are more than `most` of them.

    Below a timer that is due later, all timers are due later.
    """
    if until == math.inf:
        return timers if len(timers) <= most else None
    found: list[Any] = []
    number, places = len(timers), [0][: len(timers)]
    for place in places:
        if (timer := timers[place])._when <= until:
            if len(found) == most:
                return None
            found.append(timer)
            places += range(2 * place + 1, min(2 * place + 3, number))
    return found


def _set_last(timers: list[Any], number: int) -> list[Any]:
    """The timers added last to a heap: a new entry moves from the end towards the root only."""
    return [timers[place] for place in _places_of_latest(len(timers), number)]


@lru_cache(1024)  # the lengths of a loop's list recur, and to work the places out takes thirty bare awaits
def _places_of_latest(length: int, number: int) -> tuple[int, ...]:
    first, last = length - number, length - 1
    found = [*range(first, length)]
    while first:
        first, last = (first - 1) // 2, (last - 1) // 2
        found += range(first, last + 1)
    return tuple(found)
