"""
Hedging on the fast path: a call runs in its caller's task, with nothing alongside, until its delay is over.

Only then does the loop begin a race alongside it, as the ordinary layers would have done. The layers finish the race.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from resilient_ai._core.backend import in_trio
from resilient_ai._core.beside import BesideTasks
from resilient_ai._core.call_facts import degraded_flag
from resilient_ai._core.callers_deadline import Deadline, current_deadline, set_deadline
from resilient_ai._core.patience import scope_seconds_left
from resilient_ai._core.task_scopes import is_in_scope, tasks_with_scopes
from resilient_ai._core.tasks import current_task, running_loop
from resilient_ai._core.timed_actions import timed_actions_of

from .course import FailoverCall

if TYPE_CHECKING:
    import asyncio  # noqa: TID251 - for its types
    from contextvars import Context

    from resilient_ai._core.call_facts import DegradedFlag
    from resilient_ai._core.fast_path import Course
    from resilient_ai._core.time_bound import TimeBound

    from .candidate import Candidate
    from .course import Beside, FailoverSite
    from .health import EndpointHealth


class Hedges:
    """
    The hedges of one function.

    Args:
        site: The failover on the function.
        course: The course of a call on the fast path.
    """

    __slots__ = ("_delay", "course", "site")

    def __init__(self, site: FailoverSite, course: Course) -> None:
        self.site = site
        self.course = course
        self._delay = site.failover.delay.seconds() or 0.0

    def hedge(
        self,
        candidate: Candidate,
        started: float,
        bound: TimeBound | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Hedge | None:
        """The hedge of a call that is about to begin; None if the ordinary layers have to run the call."""
        health = candidate.health
        if health.stall.in_vain and health.stalled:  # an endpoint that may hang is hedged sooner
            return None
        if (loop := running_loop()) is None or (task := current_task(loop)) is None or in_trio():
            return None
        return Hedge(self, candidate, started, bound, args, kwargs, task)

    def arm(self, hedge: Hedge) -> None:
        """Start the delay of a hedge, whose call begins."""
        actions = timed_actions_of(running_loop())
        actions.add(actions.now() + self._delay, hedge)

    def called(self) -> None:
        """Count a call that may be hedged; the ordinary layers count their own."""
        self.site.failover.budget.called()

    def answered(self, health: EndpointHealth, began: float, now: float) -> None:
        """Take in an answer, perhaps the first after a stall; it is not among the samples yet."""
        if health.samples:
            health.stall.answered(began, now - health.samples[-1][1], health.in_flight, health.latency())


class Hedge:
    """The hedge of one call."""

    __slots__ = (
        "_args",
        "_beside",
        "_bound",
        "_candidate",
        "_context",
        "_hedges",
        "_kwargs",
        "_left",
        "_started",
        "_task",
        "flag",
    )

    def __init__(
        self,
        hedges: Hedges,
        candidate: Candidate,
        started: float,
        bound: TimeBound | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        task: asyncio.Task[Any],
    ) -> None:
        self._hedges = hedges
        self._candidate = candidate
        self._started = started
        self._bound = bound
        self._args = args
        self._kwargs = kwargs
        self._task: asyncio.Task[Any] | None = task
        self._context: Context | None = copy_context()
        self._beside: Beside | None = None
        self.flag: DegradedFlag | None = None  # of the call, if it is watched
        # Tasks that the loop starts are outside the caller's scopes, so they are told how much time the caller has.
        scopes = tasks_with_scopes()
        self._left = scope_seconds_left() if scopes and is_in_scope(task, scopes) else None

    @property
    def is_needed(self) -> bool:
        """Whether the call is still running."""
        return self._task is not None

    def happen(self) -> None:
        """Begin the race, because the delay is over."""
        task, context, bound = self._task, self._context, self._bound
        if task is None or context is None:
            return
        if (flag := self.flag) is not None:
            context.run(degraded_flag.set, flag)
        seconds = [each for each in (self._left, None if bound is None else bound.seconds) if each is not None]
        if seconds:
            spent = self._hedges.site.now() - self._started
            outer = context.run(current_deadline)
            context.run(set_deadline, Deadline(self._hedges.site.rules.registry.clock, min(seconds) - spent, outer))
        fn, instance, args = self._hedges.course.as_layers_call(self._args)
        call = FailoverCall(self._hedges.site, fn, instance, args, self._kwargs, has_begun=True)
        self._beside = call.race_beside(self._candidate, self._started, BesideTasks(task, context))

    def end(self, error: BaseException | None) -> Beside | None:
        """End the hedge, because the call is over; returns the race alongside it, if one has begun."""
        self._task = self._context = None
        self._args, self._kwargs = (), {}
        if (beside := self._beside) is not None:
            beside.tasks.call_ended(error)
        return beside
