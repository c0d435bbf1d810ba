"""The lock, the clock and the events around a limit's state; the only part that waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint_if_cancelled

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._core.deadline import seconds_left
from resilient_ai._core.errors import LimitReachedError
from resilient_ai._core.event_loops import LoopUsages
from resilient_ai._core.events import CallRejected
from resilient_ai._core.tasks import running_loop

from .events import LimitLowered
from .permit import Permit, latest_permit, still_held
from .state import Limit
from .waiter import WaitingCaller

if TYPE_CHECKING:
    from resilient_ai._core.event_loops import LoopUsage
    from resilient_ai._core.state_store import StateStore
    from resilient_ai._core.waiting import InThread

    from .config import LimitConfig


class LimitGate:
    """Gives out the permits of one limit. Thread-safe; callers in the queue keep their order across event loops."""

    __slots__ = ("_name", "_now", "_registry", "lock", "loops", "state")

    def __init__(self, name: str, config: LimitConfig, registry: StateStore) -> None:
        self.state = Limit(config)
        # Reentrant: while a thread holds it, a signal handler in that thread may read the limit, and a task that the
        # garbage collector ends may give its permit back.
        self.lock = threading.RLock()
        self.loops = LoopUsages()
        self._name = name
        self._now = registry.clock.now
        self._registry = registry

    def reconfigure(self, config: LimitConfig) -> None:
        """Change the settings; there may be permits for more callers now."""
        with self.lock:
            self.state.reconfigure(config)
        self.call_next()

    def after_fork(self) -> None:
        """Reset the lock, the calls in flight and the queue in a forked child; what was learnt is kept."""
        self.lock = threading.RLock()
        for usage in self.loops.all():
            self.state.drop_closed_loop(usage)
        self.loops = LoopUsages()

    # -- getting a permit

    def enter(self, now: float) -> Permit | None:
        """Return a permit, if one is free at once."""
        loop, state = running_loop(), self.state
        with self.lock:
            usage = self.loops.latest
            if loop is None or usage.loop() is not loop:  # `here` written out, since every call would pay for it
                self._drop_closed_loops()  # whenever the loop changes, so that closed ones cannot accumulate
                usage = self.loops.here()
            permit = state.enter(now, usage)
            if permit is None and self._drop_closed_loops():
                permit = state.enter(now, usage)
        if state.lowered:
            try:
                self._report()
            except BaseException:  # Ctrl-C in a listener: no call will be made with this permit
                if permit is not None:
                    self.released(permit)
                raise
        if permit is not None:
            permit.outer = still_held(latest_permit.get())
            latest_permit.set(permit)
        return permit

    async def wait_in_queue(self, thread: InThread | None = None, *, alternative: bool = False) -> Permit:
        """
        Wait for a permit and return it; `LimitReachedError` if there is none in time.

        Args:
            thread: The thread of a plain function, which blocks while it waits; None: a task waits.
            alternative: Whether another endpoint can be called.
        """
        if thread is None:
            await checkpoint_if_cancelled()  # a cancelled caller gets its cancellation, not the limit's error
        elif (why := thread.obstacle()) is not None:
            raise self._refusal(self._now(), why)
        clock, outer = self._registry.clock, still_held(latest_permit.get())
        waiter = self._join(outer, thread, alternative=alternative)
        try:
            while True:
                now = clock.now()
                with self.lock:
                    self._drop_closed_loops()
                    permit = self.state.turn(waiter, now)
                if isinstance(permit, Permit):
                    permit.outer = outer
                    latest_permit.set(permit)
                    return permit
                if permit is None or now >= waiter.ends:
                    raise self._refusal(now)
                await waiter.wakeup.wait(clock, min(permit, waiter.ends - now))
        finally:
            with self.lock:
                self.state.queue.leave(waiter)
            self.call_next()

    def _join(self, outer: Permit | None, thread: InThread | None, *, alternative: bool) -> WaitingCaller:
        now, left, state = self._now(), seconds_left(), self.state
        waiter: WaitingCaller | None
        with self.lock:
            while outer is not None and outer.owner is not state:
                outer = still_held(outer.outer)
            patience = state.patience(now, left, outer, alternative=alternative)
            if patience is None:
                waiter, probe = None, False
            else:
                waiter = WaitingCaller(now + patience, now + left, self.loops.here(), outer, thread)
                state.queue.join(waiter, now)
                probe = state.queue.first is not waiter and state.hold(now) == 0
        if waiter is None:
            raise self._refusal(now)
        if probe:  # the first in the queue is asleep until the provider's wait is over
            self.call_next()
        return waiter

    def _refusal(self, now: float, obstacle: str | None = None) -> LimitReachedError:
        state = self.state
        with self.lock:
            state.refused += 1
            wait = state.wait(now)
            error = LimitReachedError(self._name, limit=state.most, waiting=len(state.queue), retry_after=wait)
        if obstacle is not None:
            error.add_note(f"resilient_ai: the call did not wait for a permit, because {obstacle}")
        if self._registry.hears(CallRejected):
            self._registry.emit(CallRejected(self._name, "limit_reached", wait))
        return error

    def _drop_closed_loops(self) -> bool:
        ended = self.loops.take_ended()
        for usage in ended:
            self.state.drop_closed_loop(usage)
        return bool(ended)

    def closed_loops(self) -> list[LoopUsage]:
        """Return the closed event loops whose calls and waiters are still counted."""
        return self.loops.ended()

    # -- giving a permit back

    def ended(self, permit: Permit, error: BaseException | None) -> None:
        """Record the end of a call: success, an error of the provider or the caller, or a caller that left."""
        if error is None:
            self.succeeded(permit, self._now())
        elif isinstance(error, Exception):
            self._failed(permit, error)
        else:
            self.released(permit)

    def succeeded(self, permit: Permit, now: float) -> None:
        """Record a good answer, and take back the call's permit."""
        state = self.state
        with self.lock:
            state.succeed(permit, now)
        if state.queue.waiters or state.lowered:
            self.after_change()

    def answered(self, permit: Permit) -> None:
        """Record that the first item of a stream has arrived."""
        with self.lock:
            self.state.answer(permit, self._now())
        self.after_change()

    def not_made(self, permit: Permit) -> None:
        """Take back the permit of a call that something else prevented."""
        with self.lock:
            self.state.give_back(permit, self._now())
        self.after_change()

    def released(self, permit: Permit) -> None:
        """Take back the permit of a caller that left."""
        with self.lock:
            self.state.release(permit, self._now())
        self.after_change()

    def _failed(self, permit: Permit, error: Exception) -> None:
        try:
            verdict = classify(error)
        except BaseException:  # out of the user's own classifier: nothing is learnt, and the permit must be returned
            self.released(permit)
            raise
        now, lesson = self._now(), ERROR_TYPES[verdict.error_type].limit
        with self.lock:
            if lesson == "pace":
                self.state.too_fast(permit, now, self._registry.bounded_wait(verdict.retry_after))
            elif lesson == "overload":
                self.state.overload(permit, now)
            elif lesson == "not sent":
                self.state.give_back(permit, now)
            elif lesson == "slow":
                self.state.time_out(permit, now)
            else:
                self.state.fail(permit)
        self.after_change()

    # -- after a change, outside the lock

    def after_change(self) -> None:
        """Wake the callers that can have a permit now, and report a limit that was lowered."""
        if self.state.queue.waiters:
            self.call_next()
        if self.state.lowered:
            self._report()

    def call_next(self) -> None:
        """Wake the callers that can have a permit now; waiters whose loop has ended leave the queue."""
        with self.lock:
            while (waiter := self.state.next_called(self._now())) is not None:
                if isinstance(waiter, WaitingCaller) and waiter.wakeup.wake():
                    return
                self.state.queue.leave(waiter)

    def _report(self) -> None:
        with self.lock:
            why, self.state.lowered = self.state.lowered, ""
            limit, rate = self.state.most, self.state.pace.rate(self._now())
        if why and self._registry.hears(LimitLowered):
            self._registry.emit(LimitLowered(self._name, why, limit, rate))
