"""
Which `asyncio.timeout` is around the running task, as far as Python lets that be seen.

asyncio has no list of them. Each has a timer, though, and its loop has a list of its timers. On Python 3.12 and later
`asyncio.wait_for` is such a timeout too; on 3.11 it runs what it waits for in another task, which nobody can tell.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - its timeouts are what this is about
import math
from types import MethodType
from typing import Any, Final

_MOST: Final = 256  # timers that are all looked at, after a failure say
_MOST_BEFORE_A_CALL: Final = 8
_LATEST: Final = 16  # of more timers, those that were set last
_LATEST_BEFORE_A_CALL: Final = 4


def timeout_around(loop: Any, task: Any, *, before_a_call: bool = False) -> float:
    """
    When the soonest `asyncio.timeout` around a task ends, on the loop's clock; inf without one, or where none is seen.

    Args:
        loop: The task's.
        task: The running task.
        before_a_call: Take less time: of more than 8 timers look only at the last 4, instead of at the last 16 of more
            than 256. A timeout directly around a call is one of those, unless much has happened in the call since.
    """
    timers = getattr(loop, "_scheduled", None)  # private; uvloop has no such thing
    if not timers:
        return math.inf
    most, latest = (_MOST_BEFORE_A_CALL, _LATEST_BEFORE_A_CALL) if before_a_call else (_MOST, _LATEST)
    ends = math.inf
    for timer in timers if len(timers) <= most else _set_last(timers, latest):
        callback = timer._callback  # of a timeout a method of its own; that of a cancelled timer is nothing
        timeout = callback.__self__ if type(callback) is MethodType else None
        if type(timeout) is asyncio.Timeout and getattr(timeout, "_task", None) is task and timer.when() < ends:
            ends = timer.when()
    return ends


def _set_last(timers: list[Any], number: int) -> list[Any]:
    """The last timers of a heap: each has gone from its end towards the root, and no further."""
    first, last = len(timers) - number, len(timers) - 1
    found = timers[first:]
    while first:
        first, last = (first - 1) // 2, (last - 1) // 2
        found += timers[first : last + 1]
    return found
