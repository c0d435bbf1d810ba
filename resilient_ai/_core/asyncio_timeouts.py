"""
Which `asyncio.timeout` is around the running task, as far as Python lets that be seen.

asyncio has no list of them. Each has a timer, though, and its loop has a list of its timers. On Python 3.12 and later
`asyncio.wait_for` is such a timeout too; on 3.11 it runs what it waits for in another task, which nobody can tell.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - its timeouts are what this is about
import math
from typing import Any, Final

_MOST: Final = 256  # timers that are looked through, which takes some 20 microseconds
_LATEST: Final = 16  # of more timers, those that were set last


def timeout_around(loop: Any, task: Any) -> float:
    """
    When the soonest `asyncio.timeout` around a task ends, on the loop's clock; inf without one, or where none is seen.

    Of a loop with more than 256 timers only those set last are looked at: a timeout directly around a call is one.
    """
    timers = getattr(loop, "_scheduled", None)  # private; uvloop has no such thing
    if not timers:
        return math.inf
    ends = math.inf
    for timer in timers if len(timers) <= _MOST else _set_last(timers):
        timeout = getattr(getattr(timer, "_callback", None), "__self__", None)  # no callback: it was cancelled
        if type(timeout) is asyncio.Timeout and getattr(timeout, "_task", None) is task:
            ends = min(ends, timer.when())
    return ends


def _set_last(timers: list[Any]) -> list[Any]:
    """The last timers of a heap: each has gone from its end towards the root, and no further."""
    places: set[int] = set()
    for last in range(len(timers) - _LATEST, len(timers)):
        place = last
        while place not in places:
            places.add(place)
            if place == 0:
                break
            place = (place - 1) // 2
    return [timers[place] for place in places]
