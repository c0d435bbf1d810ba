"""
The deadline that a caller has set with `deadline()`, as every policy sees it.

It is a context variable: tasks, threads and groups that are started inside the block inherit it, where a cancel scope
or an `asyncio.timeout` belongs to one task.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import anyio

from .backend import in_task
from .call_facts import OWN_VARIABLES, TIMED, mark, marked

if TYPE_CHECKING:
    from contextvars import Token
    from types import FrameType

    from .clock import Clock


class Patience(NamedTuple):
    """How many seconds the caller of the running code waits, and the clock that counts them."""

    seconds: float
    clock: Clock

    def less(self, seconds: float) -> Patience:
        """What is left of it when so much is kept for somebody else."""
        return Patience(self.seconds - seconds, self.clock)


class Deadline:
    """
    A moment by which the running code has to be done.

    Args:
        clock: Counts the seconds.
        seconds: From now on; inf: no moment of its own.
        outer: The deadline around it; the sooner one holds.

    Attributes:
        over: Whether its block has ended. Then it bounds nobody any more: a task that was started inside and goes on
            has its own time.
        scoped: Whether a cancel scope inside the running call ends it.
        generator: Where the block stands, if that is an async generator: its frame, and the number of its task.
    """

    __slots__ = ("_ends", "clock", "generator", "outer", "over", "scoped")

    def __init__(self, clock: Clock, seconds: float, outer: Deadline | None = None) -> None:
        self.clock = clock
        self.outer = _not_over(outer)
        self.over = False
        self.scoped = False
        self.generator: tuple[FrameType, int] | None = None
        self._ends = clock.now() + seconds

    def own_left(self) -> float:
        """Seconds until this one alone; below 0 when it has passed."""
        return self._ends - self.clock.now()

    def left(self) -> float:
        """Seconds until the soonest of this and those around it; inf without one."""
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
    The next deadline that still bounds somebody, from this one outwards.

    Those that are over are taken out of the chain: a task that starts its own successor inside makes it one longer
    each time.
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
    Refuse a deadline whose generator stands at a `yield`: this code reads its items, and has a time of its own.

    Raises:
        RuntimeError: It stands there. While a generator waits for this code it runs, so that somebody has called it.
    """
    if frame.f_back is None and in_task() and anyio.get_current_task().id == task:
        raise RuntimeError(
            f"deadline() in line {frame.f_lineno} of {frame.f_code.co_qualname} is around a yield, so that it bounds"
            " whoever reads the items; end its block before each yield, or put it around the reading"
        )


_deadline: ContextVar[Deadline | None] = ContextVar("resilient_ai.deadline", default=None)
OWN_VARIABLES.add(_deadline)
current_deadline = _deadline.get

Tokens = tuple["Token[Deadline | None]", "Token[int]"]


def set_deadline(deadline: Deadline | None) -> Tokens:
    """Let a deadline hold for the running code and what it starts; returns what `reset_deadline` takes."""
    return _deadline.set(deadline), mark(TIMED)


def reset_deadline(tokens: Tokens) -> bool:
    """Put back what held before; False in another context, where that is not to be had."""
    try:
        _deadline.reset(tokens[0])
        marked.reset(tokens[1])
    except ValueError:
        return False
    return True


def is_scoped() -> bool:
    """Whether a cancel scope that ends with the running call bounds it, so that a stream may leave none open inside."""
    each = current_deadline()
    while each is not None:
        if each.scoped and not each.over:
            return True
        each = each.outer
    return False
