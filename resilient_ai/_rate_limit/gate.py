"""The lock, the clock and the events around a quota. Only the gate waits."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint_if_cancelled

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_types import ERROR_TYPES
from resilient_ai._classification.evidence import headers_of
from resilient_ai._classification.unsent import unsent
from resilient_ai._core.checks import check_number
from resilient_ai._core.deadline import seconds_left
from resilient_ai._core.errors import ErrorType, LimitReachedError, QueueFullError
from resilient_ai._core.event_loops import LoopUsages
from resilient_ai._core.events import CallRejected
from resilient_ai._core.metering import reset_run, set_run
from resilient_ai._core.opening import gives_items
from resilient_ai._core.sharing import Subject, credential_of
from resilient_ai._core.started_call import NOTHING as NOTHING_GIVEN
from resilient_ai._core.wakeup import wakeup_of
from resilient_ai._core.watched import current_run
from resilient_ai._usage.runs import UsageRun

from .events import RateLimitLowered
from .queue import Waiter
from .quota import Quota
from .told import NOTHING, told_by

if TYPE_CHECKING:
    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.event_loops import LoopUsage
    from resilient_ai._core.sharing import Leased, Sharing
    from resilient_ai._core.state_store import StateStore
    from resilient_ai._core.usage import Usage
    from resilient_ai._core.waiting import InThread

    from .config import RateLimitConfig
    from .estimate import TokenEstimate

SAYS_NOTHING = frozenset({str, int, float, bool, bytes, list, tuple, type(None)})  # types of results without headers


class Sent:
    """
    A call that was let through. Its answer, or the function itself, reports to it what the call used.

    Attributes:
        tokens: Tokens taken for the call.
        guessed: Tokens guessed for the call, before the estimate's correction.
        estimate: The estimate, which learns from what the call used.
        started: When it was let through, in monotonic seconds.
        told: Tokens that it has used, as far as is known; None before the first report.
        whole: Whether `told` is all that it used.
    """

    __slots__ = ("_quota", "_run", "_token", "estimate", "guessed", "started", "tokens", "told", "whole")

    def __init__(self, tokens: float, guessed: float, estimate: TokenEstimate, started: float, quota: Quota) -> None:
        self.tokens = tokens
        self.guessed = guessed
        self.estimate = estimate
        self.started = started
        self._quota = quota
        self.told: int | None = None
        self.whole = True
        self._run: UsageRun | None = None
        self._token: object = None

    def used(
        self,
        endpoint: str | None,  # noqa: ARG002 - of the receiver's protocol, as are the others
        model: str | None,  # noqa: ARG002
        usage: Usage | None,
        *,
        whole: bool = True,
        heard: set[Any] | None = None,
    ) -> None:
        """Take in the usage of an answer; None: unknown."""
        if usage is None:
            return
        self.told = self.told or 0
        if heard is not None:
            if self._quota in heard:  # a call inside this one has taken it from the same quota
                return
            heard.add(self._quota)
        self.told += usage.input_tokens + usage.output_tokens
        self.whole &= whole

    def run(self, endpoint: str | None) -> UsageRun:
        """The usage run of the call: the one that `begin` began, else a new one."""
        run, self._run = self._run, None  # clear it: run -> call -> run is a reference cycle
        return run or UsageRun(self, endpoint, current_run())

    def begin(self, endpoint: str | None) -> None:
        """Begin the usage run of a call on the fast path."""
        self._run = UsageRun(self, endpoint, current_run())
        self._token = set_run(self._run)

    def end(self, *, result: Any = NOTHING_GIVEN, error: BaseException | None = None) -> None:
        """End the usage run that `begin` began, if any; a returned stream reports more usage later."""
        if (token := self._token) is None:
            return
        self._token = None
        reset_run(token)
        if error is None and gives_items(type(result)):
            return
        run = self.run(None)
        if error is not None:
            run.failed(error)
        else:
            run.answered(result)


class WaitingCaller(Waiter):
    """A caller in the queue, and what wakes it."""

    __slots__ = ("wakeup",)

    def __init__(self, tokens: float, ends: float, usage: LoopUsage, thread: InThread | None) -> None:
        super().__init__(tokens, ends, usage)
        self.wakeup = wakeup_of(usage, thread)


class RateGate:
    """Lets the calls of one quota through. Thread-safe; queued callers keep their order across loops."""

    __slots__ = (
        "_config",
        "_loops",
        "_name",
        "_own_numbers",
        "_registry",
        "_tells",
        "lock",
        "now",
        "quota",
        "shared",
        "subject",
    )

    def __init__(self, name: str, config: RateLimitConfig, registry: StateStore) -> None:
        self._name = name
        self.now = registry.clock.now
        self._registry = registry
        self.quota = Quota(config, self.now())
        # Reentrant: while a thread holds the lock, a signal handler may read the limit, and a task that the garbage
        # collector ends may leave the queue.
        self.lock = threading.RLock()
        self._loops = LoopUsages()
        self._config = config
        self._own_numbers: tuple[float | None, float | None] = None, None  # the endpoint's own limits
        self.subject = Subject(name)  # subject of the facts that a fleet shares about it
        self._tells = True
        self.shared: Leased  # the part that a fleet's task uses

    def after_fork(self) -> None:
        """In a forked child: a free lock and an empty queue; what was learnt stays."""
        self.lock = threading.RLock()
        for usage in self._loops.all():
            self.quota.queue.drop_closed_loop(usage)
        self._loops = LoopUsages()

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited."""
        return self.quota.tokens is not None

    def belong_to(self, endpoint: object) -> None:
        """Become the quota of an endpoint, and use its own limits if it has any."""
        if endpoint is None:
            return
        self.subject = Subject(str(getattr(endpoint, "name", self._name)), credential_of(endpoint))
        self._tells = False  # the endpoint does
        requests, tokens = (getattr(endpoint, name, None) for name in ("requests_per_minute", "tokens_per_minute"))
        who = getattr(endpoint, "name", None)
        check_number(f"requests_per_minute of endpoint {who!r}", requests, above=0, optional=True)
        check_number(f"tokens_per_minute of endpoint {who!r}", tokens, above=0, optional=True)
        self._own_numbers = requests, tokens
        self.reconfigure(self._config)

    def reconfigure(self, config: RateLimitConfig) -> None:
        """Use other settings from now on; waiting callers may be served by them at once."""
        self._config = config
        requests, tokens = self._own_numbers
        with self.lock:
            self.quota.reconfigure(
                replace(
                    config,
                    requests_per_minute=config.requests_per_minute if requests is None else requests,
                    tokens_per_minute=config.tokens_per_minute if tokens is None else tokens,
                ),
                self.now(),
            )
        self.call_next()

    def hear(self, wait: float) -> bool:
        """Pause for so many seconds, because another process was refused; whether that changed anything."""
        with self.lock:
            return self.quota.pause(wait, self.now())

    # -- getting through

    def enter(self, guessed: float, estimate: TokenEstimate) -> Sent | None:
        """The call if it may be sent at once, else None."""
        now, tokens = self.now(), self._tokens(guessed, estimate)
        with self.lock:
            if not self.quota.enter(tokens, now):
                return None
        if (lease := self.quota.lease) is not None and lease.is_low():
            self.want()
        return Sent(tokens, guessed, estimate, now, self.quota)

    @property
    def sharing(self) -> Sharing | None:
        """The fleet that its registry has joined, or None."""
        return self._registry.sharing

    def want(self) -> None:
        """Have the fleet's server asked, if a fleet shares the quota."""
        if (sharing := self.sharing) is not None:
            sharing.wants(self.shared)

    def _tokens(self, guessed: float, estimate: TokenEstimate) -> float:
        bucket = self.quota.tokens
        if bucket is None:
            return 0.0
        # The correction learnt from other calls must not make this one too big for the quota; its own guess may.
        return min(guessed * estimate.ratio, max(guessed, bucket.per_minute))

    async def wait_in_line(self, guessed: float, estimate: TokenEstimate, thread: InThread | None = None) -> Sent:
        """
        Wait until the call may be sent.

        Args:
            guessed: Tokens guessed for the call, before the estimate's correction.
            estimate: The token estimate of the function.
            thread: The thread of a plain function, which waits by blocking; None: a task waits.

        Raises:
            LimitReachedError: The call cannot be sent in time.
        """
        clock, tokens = self._registry.clock, self._tokens(guessed, estimate)
        if thread is None:
            await checkpoint_if_cancelled()  # a cancelled caller gets the cancellation, not LimitReachedError
        elif (why := thread.obstacle()) is not None:
            raise self._refusal(tokens, self.now(), why)
        waiter = self._join(tokens, thread)
        try:
            while True:
                now = clock.now()
                with self.lock:
                    seconds = self.quota.turn(waiter, now)
                    wants = (lease := self.quota.lease) is not None and lease.wants(now)
                if wants:
                    self.want()
                if seconds is None:
                    return Sent(tokens, guessed, estimate, now, self.quota)
                if now >= waiter.ends:
                    raise self._refusal(tokens, now)
                await waiter.wakeup.wait(clock, min(seconds, waiter.ends - now))
        finally:
            with self.lock:
                self.quota.queue.leave(waiter)
            self.call_next()

    def _join(self, tokens: float, thread: InThread | None) -> WaitingCaller:
        now, left, quota = self.now(), seconds_left(), self.quota
        with self.lock:
            for usage in self._loops.take_ended():
                quota.queue.drop_closed_loop(usage)
            patience = quota.patience(tokens, now, left) if quota.fits(tokens) else None
            if patience is not None:
                waiter = WaitingCaller(tokens, now + patience, self._loops.here(), thread)
                quota.queue.join(waiter)
                return waiter
        raise self._refusal(tokens, now)

    def _refusal(self, tokens: float, now: float, obstacle: str | None = None) -> LimitReachedError:
        quota = self.quota
        with self.lock:
            quota.refused += 1
            wait = quota.wait(tokens, now) if quota.fits(tokens) else None
            most, waiting, numbers = quota.tokens, len(quota.queue), numbers_of(quota)
        if wait is None and most is not None:
            why = (
                f"the call needs about {tokens:,.0f} tokens, more than the {most.per_minute:,.10g} a minute"
                f" of limit {self._name!r}; make it smaller, or raise tokens_per_minute="
            )
            error = LimitReachedError(self._name, retry_after=None, why=why)
        else:
            why = f"limit {self._name!r} cannot serve the call in time: {numbers}, {waiting} in the queue"
            error = LimitReachedError(self._name, waiting=waiting, retry_after=wait, why=why)
        if obstacle is not None:
            error.add_note(f"resilient_ai: the call has not waited for its turn, because {obstacle}")
        if self._registry.hears(CallRejected):
            self._registry.emit(CallRejected(self._name, "limit_reached", wait))
        return error

    # -- how calls end

    def not_made(self, tokens: float) -> None:
        """Return what a call took that was let through and then not made."""
        now = self.now()
        with self.lock:
            self.quota.give_back(tokens, now)
        self.call_next()

    def succeeded(self, sent: Sent, result: Any) -> None:
        """Take in a call that returned something other than a stream."""
        said = NOTHING if type(result) in SAYS_NOTHING else told_by(headers_of(result))
        now = self.now()
        with self.lock:
            self.quota.answer_time.add(now - sent.started)
            self.quota.succeeded += 1
            self._settle(sent, now)
            if said is not NOTHING:
                self.quota.told(said, sent.started, now)
        if len(self.quota.queue):
            self.call_next()

    def opened(self, sent: Sent, stream: Any, *, begun: bool) -> None:
        """Take in the headers of a stream's reply; `begun` says whether its first item, or its end, has come."""
        said, now = told_by(headers_of(stream)), self.now()
        with self.lock:
            if begun:
                self.quota.answer_time.add(now - sent.started)
            self.quota.told(said, sent.started, now)

    def stream_ended(self, sent: Sent) -> None:
        """Take in a stream that was read to its end."""
        now = self.now()
        with self.lock:
            self.quota.succeeded += 1
            self._settle(sent, now)
        self.call_next()

    def left(self, sent: Sent) -> None:
        """Take in that the caller left; what was taken stays spent, because the provider may have gone on."""
        now = self.now()
        with self.lock:
            self.quota.left += 1
            self._settle(sent, now, whole=False)
        self.call_next()

    def _settle(self, sent: Sent, now: float, *, whole: bool = True) -> None:
        # An answer that was cut may have used more than it reported: then only a higher usage is believed.
        whole = whole and sent.whole
        if (used := sent.told) is not None and (whole or used > sent.tokens):
            self.quota.settle(sent.tokens, used, now)
            if whole:
                sent.estimate.learn(sent.guessed, used)

    def failed(self, sent: Sent, error: BaseException) -> None:
        """Take in that the call ended with an error, or that its caller left."""
        if not isinstance(error, Exception):
            self.left(sent)
            return
        try:
            verdict = classify(error)
        except BaseException:  # from a classifier of the user's own: it tells nothing about the call
            self.left(sent)
            raise
        said, event = told_by(headers_of(error)), None
        now, quota = self.now(), self.quota
        with self.lock:
            if ERROR_TYPES[verdict.error_type].limit == "pace":
                pause = self._registry.bounded_wait(verdict.retry_after) or 0.0
                if quota.too_fast(pause, now):
                    event = RateLimitLowered(self._name, quota.factor, pause)
                    if (sharing := self.sharing) is not None and self._tells:
                        sharing.failed(self.subject, verdict.error_type, pause)
            elif _not_sent(error, verdict):
                quota.give_back(sent.tokens, now)
            else:
                quota.failed += 1
                self._settle(sent, now, whole=False)
            quota.told(said, sent.started, now)
        self.call_next()
        if event is not None and self._registry.hears(RateLimitLowered):
            self._registry.emit(event)

    def call_next(self) -> None:
        """Wake the first waiter, which asks for its turn; drop waiters whose loop has ended."""
        with self.lock:
            while isinstance(waiter := self.quota.queue.first, WaitingCaller):
                if waiter.wakeup.wake():
                    return
                self.quota.queue.leave(waiter)


def _not_sent(error: Exception, verdict: Verdict) -> bool:
    """Whether the request was not sent: a policy below refused the call, or there was no connection."""
    if verdict.error_type is ErrorType.MODEL_OVERLOADED:  # if the provider itself said so, it has counted the call
        return isinstance(error, LimitReachedError | QueueFullError)
    return unsent(error, verdict)


def numbers_of(quota: Quota) -> str:
    """The limits as text."""
    pairs = ((quota.requests, "requests"), (quota.tokens, "tokens"))
    return (
        " and ".join(f"{bucket.per_minute:,.10g} {what}" for bucket, what in pairs if bucket is not None) + " a minute"
    )
