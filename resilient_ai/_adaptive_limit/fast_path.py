"""
A limit on the fast path: while nothing is wrong, a call takes no lock and decides nothing.

It is so until the next look at calls under way, a twentieth of a second later at most; anything else than a good answer
ends it at once, and so do a limit that is reached and a caller in the queue. What the answers say of the provider is
learnt when it ends, in the order in which they came.

Numbers are changed without a lock, because CPython switches threads at calls and jumps only. Without a GIL there is no
such time.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

from .permit import Permit, latest_permit

if TYPE_CHECKING:
    from .gate import LimitGate

_LEARNT_TOGETHER = 64  # answers
_new = object.__new__

_outer, _set_outer = latest_permit.get, latest_permit.set


class FastPermits:
    """
    Permits of one limit.

    Args:
        gate: Gives them when something has to be decided.
    """

    __slots__ = ("_state", "owner")

    def __init__(self, gate: LimitGate) -> None:
        self.owner = gate
        self._state = gate.state

    def enter(self, now: float, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Permit | None:
        """A permit, if there is one at once."""
        state = self._state
        if now < state.calm_until:
            usage = self.owner.loops.latest
            # That it is the running loop is known by its thread, sooner than by asking which one runs.
            if (loop := usage.loop()) is not None and getattr(loop, "_thread_id", None) == get_ident():
                in_flight, concurrency, refusals = state.in_flight, state.concurrency, state.refusals
                cohort, outer = refusals.latest, _outer()
                while outer is not None and outer.owner is None:  # `still_held` written out
                    outer = outer.outer
                if in_flight.count + 1 <= concurrency.value:
                    # No call stands between the look and what it allows.
                    in_flight.count += 1
                    usage.in_flight += 1
                    cohort.sent += 1
                    refusals.known += 1.0
                    permit = _new(Permit)  # `Permit(…)` written out, which takes a bare await more
                    permit.started, permit.epoch, permit.usage, permit.owner = now, concurrency.epoch, usage, state
                    permit.answered = permit.measured = permit.lost = False
                    permit.in_flight_at_start, permit.cohort, permit.outer = in_flight.count, cohort, outer
                    in_flight.running[permit] = None
                    _set_outer(permit)
                    return permit
        return self.owner.enter(now)

    def give_back(self, permit: Permit, now: float) -> None:  # noqa: ARG002
        """The call was not made after all."""
        self.owner.not_made(permit)

    def succeeded(self, permit: Permit, now: float, result: object) -> None:  # noqa: ARG002
        """The call has given a good answer."""
        state = self._state
        in_flight, concurrency, answers, usage = state.in_flight, state.concurrency, state.answers, permit.usage
        if (
            now >= state.calm_until
            or permit.epoch != concurrency.epoch
            or len(answers) >= _LEARNT_TOGETHER
            or ((lending := in_flight.lending) is not None and lending.nested_of)
            or usage.dropped
            or in_flight.running.pop(permit, state) is state
        ):
            self.owner.succeeded(permit, now)
            return
        answers.append((now - permit.started, permit, in_flight.count))
        permit.owner = None
        usage.in_flight -= 1
        in_flight.count -= 1
        if permit.in_flight_at_start > concurrency.served_together:
            concurrency.served_together = permit.in_flight_at_start
        state.succeeded += 1
        state.stall.answered_at = now
        if state.queue.waiters:  # one has come since it was calm
            self.owner.after_change()
