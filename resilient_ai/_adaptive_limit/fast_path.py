"""
A limit on the fast path: while nothing is wrong, a call needs no lock and no decision.

That lasts until the next check of the calls under way, a twentieth of a second later at most; anything but a good
answer ends it at once, and so do a limit that is reached and a caller in the queue. When it ends, the limit learns from
the answers in the order in which they came.

Numbers are changed without a lock, because CPython switches threads only at calls and jumps. Without a GIL there is no
fast path.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

from .concurrency import LEARNT_TOGETHER
from .permit import Permit, latest_permit

if TYPE_CHECKING:
    from .gate import LimitGate

_outer, _set_outer = latest_permit.get, latest_permit.set


class FastPermits:
    """
    The permits of one limit.

    Args:
        gate: Gives them when there is something to decide.
    """

    __slots__ = ("_state", "owner")

    def __init__(self, gate: LimitGate) -> None:
        self.owner = gate
        self._state = gate.state

    def enter(self, now: float, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Permit | None:
        """Return a permit, if one is free at once."""
        state = self._state
        # Comparing threads shows that it is the running loop, and is quicker than asking for the running loop.
        if (
            now < state.calm_until
            and (loop := (usage := self.owner.loops.latest).known_by_thread()) is not None
            and loop._thread_id == get_ident()
        ):
            outer = _outer()
            while outer is not None and outer.owner is None:  # `still_held` written out
                outer = outer.outer
            permit = Permit()
            # There is no call between this check and what it allows.
            in_flight, concurrency = state.in_flight, state.concurrency
            if (count := in_flight.count + 1) <= concurrency.value:
                in_flight.count = permit.in_flight_at_start = count
                permit.cohort = cohort = state.refusals.latest
                cohort.sent += 1
                permit.started, permit.epoch, permit.usage, permit.owner = now, concurrency.epoch, usage, state
                permit.answered, permit.outer = False, outer
                in_flight.running[permit] = None
                _set_outer(permit)
                return permit
        return self.owner.enter(now)

    def give_back(self, permit: Permit, now: float) -> None:  # noqa: ARG002
        """Take back the permit of a call that was not made after all."""
        self.owner.not_made(permit)

    def succeeded(self, permit: Permit, now: float, result: object) -> None:  # noqa: ARG002
        """Record a good answer, and take back the call's permit."""
        state = self._state
        in_flight = state.in_flight
        if (
            now >= state.calm_until
            or permit.epoch != state.concurrency.epoch
            or len(state.answers) >= LEARNT_TOGETHER
            or ((lending := in_flight.lending) is not None and lending.nested_of)
            or in_flight.running.pop(permit, state) is state
        ):
            self.owner.succeeded(permit, now)
            return
        permit.owner = None
        in_flight.count = count = in_flight.count - 1
        # Without a call between the look-up of the list and what is added, no answer gets into a list that was taken.
        state.answers.append((now - permit.started, permit.in_flight_at_start, count + 1, now))
        if state.queue.waiters:  # one has joined since then
            self.owner.after_change()
