"""
The deadline that a caller has set with `deadline()`, for all policies.

It is a context variable: tasks, threads and task groups started inside the block inherit it, whereas a cancel scope or
an `asyncio.timeout` belongs to one task.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import anyio

from .backend import in_task
from .call_facts import OWN_VARIABLES

if TYPE_CHECKING:
    from contextvars import Token
    from types import FrameType

    from .clock import Clock


class Patience(NamedTuple):
    """The seconds that the caller of the running code waits, and the clock that counts them."""

    seconds: float
    clock: Clock

    def less(self, seconds: float) -> Patience:
        """The same, reduced by the seconds that are kept for another purpose."""
        return Patience(self.seconds - seconds, self.clock)


class Deadline:
    """
    A time by which the running code has to be done.

    Args:
        clock: The clock that counts the seconds.
        seconds: Seconds from now; inf: no deadline of its own.
        outer: The deadline around it; the sooner one applies.

    Attributes:
        over: Whether its block has ended. Then it applies to nothing any more: a task that was started inside and goes
            on has no deadline from it.
        scoped: Whether a cancel scope inside the running call ends the call.
        generator: If the block is in an async generator: its frame, and the number of its task.
        scope: The cancel scope that ends the block; None once that has ended, and without one.
    """

    __slots__ = ("_ends", "clock", "generator", "outer", "over", "scope", "scoped")

    def __init__(self, clock: Clock, seconds: float, outer: Deadline | None = None) -> None:
        self.clock = clock
        self.outer = _not_over(outer)
        self.over = False
        self.scoped = False
        self.generator: tuple[FrameType, int] | None = None
        self.scope: object = None
        self._ends = clock.now() + seconds

    def own_left(self) -> float:
        """Seconds until this deadline alone; below 0 if it has passed."""
        return self._ends - self.clock.now()

    def left(self) -> float:
        """Seconds until the soonest of this deadline and those around it; inf without one."""
        return self.soonest().seconds

    def soonest(self) -> Patience:
        """The same, with the clock that counts them."""
        left, clock = math.inf, self.clock
        each: Deadline | None = self
        while each is not None:
            if each.generator is not None:
                _refuse_yield(*each.generator)
            if not each.over and (own := each.own_left()) < left:
                left, clock = own, each.clock
            each = each.outer
        return Patience(left, clock)


def _not_over(deadline: Deadline | None) -> Deadline | None:
    """
    The next deadline that still applies, from this one outwards.

    Deadlines that are over are removed from the chain: otherwise a task that starts its own successor inside would
    lengthen it each time.
    """
    while deadline is not None and deadline.over:
        deadline = deadline.outer
    each = deadline
    while each is not None and (outer := each.outer) is not None:
        if outer.over:
            each.outer = outer.outer
        else:
            each = outer
    return deadline


def _refuse_yield(frame: FrameType, task: int) -> None:
    """
    Refuse a deadline whose generator is suspended at a `yield`: the running code reads its items, and is not inside.

    Raises:
        RuntimeError: The generator is suspended there.
    """
    if frame.f_back is None and in_task() and anyio.get_current_task().id == task:
        raise RuntimeError(
            f"deadline() in line {frame.f_lineno} of {frame.f_code.co_qualname} is around a yield, so that it bounds"
            " the code that reads the items; end its block before each yield, or put it around the reading"
        )


_deadline: ContextVar[Deadline | None] = ContextVar("resilient_ai.deadline", default=None)
OWN_VARIABLES.add(_deadline)
current_deadline = _deadline.get
# Empty until a deadline is set in this process: until then the fast paths do not look it up.
ever_timed: list[bool] = []


def set_deadline(deadline: Deadline | None) -> Token[Deadline | None]:
    """Let a deadline hold for the running code and what it starts; returns what `reset_deadline` takes."""
    if not ever_timed:
        ever_timed.append(True)
    return _deadline.set(deadline)


def reset_deadline(token: Token[Deadline | None]) -> bool:
    """Restore the previous deadline; False in another context, where that is not possible."""
    try:
        _deadline.reset(token)
    except ValueError:
        return False
    return True


def is_scoped() -> bool:
    """Whether a cancel scope that ends with the running call bounds it; then a stream must not leave a scope open."""
    each = current_deadline()
    while each is not None:
        if each.scoped and not each.over:
            return True
        each = each.outer
    return False
