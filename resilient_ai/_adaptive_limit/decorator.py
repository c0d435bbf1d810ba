"""`@adaptive_limit`: no more calls at a time, and no faster, than the provider takes; the others wait in line."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

import anyio
from anyio.lowlevel import checkpoint_if_cancelled, current_token

from resilient_ai._classification.classify import classify
from resilient_ai._core.clock import seconds_left
from resilient_ai._core.errors import ErrorType, LimitReachedError
from resilient_ai._core.event_loops import Era, Eras, running_loop
from resilient_ai._core.events import CallRejected, LimitLowered
from resilient_ai._core.fast_path import Handler
from resilient_ai._core.policy import Policy, Site, StreamHandler
from resilient_ai._core.report import Row
from resilient_ai._core.stack import Decorator, decorate
from resilient_ai._core.state_store import StateStore, default_registry
from resilient_ai._core.watch import latest_place

from .permit import Place, Waiter
from .state import Limit, LimitConfig

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


@dataclass(frozen=True, slots=True)
class LimitStats:
    """
    What a limit has learnt and seen.

    Attributes:
        limit: Calls that may be under way at a time.
        in_flight: Calls that are.
        waiting: Callers in line.
        rate: Calls a second that are sent after a rate limit; None while nothing limits them.
        refused: Callers turned away because they could not be served in time, or because the line was full.
        total_calls: Calls that were let through.
        succeeded: Those that have answered.
        failed: Those that have failed.
        normal_seconds: What a middling answer takes (a stream: its first item); None before the first.
        slow_seconds: From where on an answer is unusually slow; None until that is known.
    """

    limit: int
    in_flight: int
    waiting: int
    rate: float | None
    refused: int
    total_calls: int
    succeeded: int
    failed: int
    normal_seconds: float | None
    slow_seconds: float | None


class _InLine(Waiter):
    """A caller in line, and what wakes its task, in whatever thread and loop that lives."""

    __slots__ = ("_call_soon", "_thread", "event")

    def __init__(self, ends: float, deadline: float, era: Era, host: Place | None) -> None:
        super().__init__(ends, deadline, era, host)
        loop: Any = current_token().native_token
        self._call_soon = loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe
        self._thread = threading.get_ident()
        self.event = anyio.Event()

    def wake(self) -> bool:
        """Let the task ask for its turn; False when its loop has ended and took the task with it."""
        if self.era.has_ended():  # an event that is set already would take another setting without a word
            return False
        try:
            if threading.get_ident() == self._thread:
                self.event.set()
            else:
                self._call_soon(self._ring)
        except RuntimeError:
            return False
        return True

    def _ring(self) -> None:
        self.event.set()


def _still_held(place: Place | None) -> Place | None:
    """This place, or the one that its caller held before it, if they have not been given back."""
    while place is not None and place.limit is None:
        place = place.outer
    return place


class AdaptiveLimit:
    """One limit in the registry. Thread-safe; callers in line keep their order across loops and threads."""

    __slots__ = ("_eras", "_limit", "_lock", "_now", "_registry", "name")

    def __init__(self, name: str, config: LimitConfig, registry: StateStore) -> None:
        self.name = name
        self._limit = Limit(config)
        self._registry = registry
        self._now = registry.clock.now
        self._eras = Eras()
        # Reentrant: a signal handler may read it, and a task that the garbage collector ends may give its place back,
        # while its own thread is in here.
        self._lock = threading.RLock()

    # -- for the policy

    def enter(self) -> Place | None:
        """A place, if there is one at once."""
        now, loop = self._now(), running_loop()
        with self._lock:
            era = self._eras.latest
            if loop is None or era.loop() is not loop:  # `here` written out, which every call pays for
                self._bury()  # whenever the loop is another one than before: their number must not grow
                era = self._eras.here()
            place = self._limit.enter(now, era)
            if place is None and self._bury():
                place = self._limit.enter(now, era)
        if self._limit.news:
            try:
                self._tell()
            except BaseException:  # Ctrl-C in a listener: nobody will call with this place
                if place is not None:
                    self.released(place)
                raise
        if place is not None:
            outer = latest_place.get()
            while outer is not None and outer.limit is None:
                outer = outer.outer
            place.outer = outer
            latest_place.set(place)
        return place

    async def wait_in_line(self, *, spare: bool = False) -> Place:
        """A place, after a wait; `LimitReachedError` when there is none in time."""
        await checkpoint_if_cancelled()  # a cancelled caller hears of that, not of the limit
        clock, left, outer = self._registry.clock, seconds_left(), _still_held(latest_place.get())
        now = clock.now()
        with self._lock:
            host = outer
            while host is not None and host.limit is not self._limit:
                host = _still_held(host.outer)
            patience, waiter = self._limit.patience(now, left, host, spare=spare), None
            if patience is not None:
                waiter = _InLine(now + patience, now + left, self._eras.here(), host)
                self._limit.join(waiter, now)
        if waiter is None:
            raise self._refusal(now)
        try:
            while True:
                now = clock.now()
                with self._lock:
                    self._bury()
                    place = self._limit.turn(waiter, now)
                if isinstance(place, Place):
                    place.outer = outer
                    latest_place.set(place)
                    return place
                if place is None or now >= waiter.ends:
                    raise self._refusal(now)
                with clock.move_on_after(min(place, waiter.ends - now)):
                    await waiter.event.wait()
                    waiter.event = anyio.Event()
        finally:
            with self._lock:
                self._limit.leave(waiter)
            self._call_next()

    def _bury(self) -> bool:
        gone = self._eras.ended()
        for era in gone:
            self._limit.bury(era)
        return bool(gone)

    def _refusal(self, now: float) -> LimitReachedError:
        limit = self._limit
        with self._lock:
            limit.refused += 1
            wait = limit.wait(now)
            error = LimitReachedError(self.name, limit=limit.places, waiting=len(limit.line), retry_after=wait)
        if self._registry.listening:
            self._registry.emit(CallRejected(self.name, "limit_reached", wait))
        return error

    def succeeded(self, place: Place) -> None:
        with self._lock:
            self._limit.succeed(place, self._now())
        if self._limit.line or self._limit.news:
            self._after()

    def answered(self, place: Place) -> None:
        """The first item of a stream is there."""
        with self._lock:
            self._limit.answer(place, self._now())
        self._after()

    def failed(self, place: Place, error: Exception) -> None:
        try:
            verdict = classify(error)
        except BaseException:  # out of a classifier of the user's own: no news, and the place must come back
            self.released(place)
            raise
        now, kind = self._now(), verdict.error_type
        with self._lock:
            if kind is ErrorType.RATE_LIMIT:
                self._limit.too_fast(place, now, verdict.retry_after)
            elif kind is ErrorType.MODEL_OVERLOADED:
                self._limit.overload(place, now)
            elif kind is ErrorType.CIRCUIT_OPEN:
                self._limit.give_back(place)
            elif kind is ErrorType.TIMEOUT:
                self._limit.time_out(place, now)
            else:
                self._limit.fail(place)
        self._after()

    def released(self, place: Place) -> None:
        with self._lock:
            self._limit.release(place, self._now())
        self._after()

    def _after(self) -> None:
        if self._limit.line:
            self._call_next()
        if self._limit.news:
            self._tell()

    def _call_next(self) -> None:
        with self._lock:
            while (waiter := self._limit.called(self._now())) is not None and not waiter.wake():  # type: ignore[attr-defined]
                self._limit.leave(waiter)

    def _tell(self) -> None:
        with self._lock:
            why, self._limit.news = self._limit.news, ""
            limit, rate = self._limit.places, self._limit.pace.rate(self._now())
        if why and self._registry.listening:
            self._registry.emit(LimitLowered(self.name, why, limit, rate))

    # -- for people

    def stats(self) -> LimitStats:
        """The numbers of this moment."""
        with self._lock:
            limit = self._limit
            normal, lost = limit.normal, self._eras.lost()
            return LimitStats(
                limit=limit.places,
                in_flight=limit.in_flight - sum(era.in_flight for era in lost),
                waiting=sum(waiter.era not in lost for waiter in limit.line),
                rate=limit.pace.rate(self._now()),
                refused=limit.refused,
                total_calls=limit.total,
                succeeded=limit.answered,
                failed=limit.failed,
                normal_seconds=normal.typical if normal.seen else None,
                slow_seconds=normal.slow_after if normal.slow_after < math.inf else None,
            )

    def row(self) -> Row:
        stats = self.stats()
        state = f"{stats.in_flight} of {stats.limit}"
        if stats.waiting:
            state += f", {stats.waiting} waiting"
        if stats.rate is not None:
            state += f", {stats.rate:.2g} a second"
        return Row(self.name, "adaptive_limit", state, stats.total_calls, stats.succeeded, stats.failed)

    def reset(self) -> None:
        """Everything learnt is forgotten; calls under way and in line stay where they are."""
        with self._lock:
            self._limit.clear()
        self._call_next()

    def __repr__(self) -> str:
        row = self.row()
        return f"<AdaptiveLimit {self.name!r} {row.state}: {row.calls} calls, {row.failed} failed>"


class AdaptiveLimitPolicy(Policy[AdaptiveLimit]):
    kind = "adaptive_limit"
    per_endpoint = True

    def make_state(self, name: str) -> AdaptiveLimit:
        return AdaptiveLimit(name, self.config, self.registry)

    def bind(self, below: Callable[[Site], Handler], site: Site) -> Handler:
        inner, limit, spare = below(site), self.state(site), site.spare

        async def limited(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            place = limit.enter() or await limit.wait_in_line(spare=spare)
            try:
                result = await inner(fn, instance, args, kwargs)
            except Exception as error:
                limit.failed(place, error)
                raise
            except BaseException:
                limit.released(place)
                raise
            limit.succeeded(place)
            return result

        return limited

    def bind_stream(self, below: Callable[[Site], StreamHandler], site: Site) -> StreamHandler:
        return partial(_limited_stream, below(site), self.state(site), site.spare)


async def _limited_stream(
    inner: StreamHandler,
    limit: AdaptiveLimit,
    spare: bool,
    fn: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncGenerator[Any, None]:
    place: Place | None = limit.enter() or await limit.wait_in_line(spare=spare)
    stream: AsyncGenerator[Any, Any] | None = None
    try:
        while True:
            held = place
            try:
                if stream is None:
                    stream = inner(fn, instance, args, kwargs)  # raises when the arguments do not fit
                item = await anext(stream)
            except StopAsyncIteration:
                break
            except Exception as error:
                place = None
                limit.failed(held, error)  # type: ignore[arg-type]
                raise
            limit.answered(place)  # type: ignore[arg-type]
            # Outside the inner try: what the consumer throws in here is not the provider's doing.
            yield item
        held, place = place, None
        limit.succeeded(held)  # type: ignore[arg-type]
    finally:
        if place is not None:
            limit.released(place)
        if stream is not None:
            await stream.aclose()


@overload
def adaptive_limit(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def adaptive_limit(fn: Callable[P, AsyncGenerator[Y, None]], /) -> Callable[P, AsyncGenerator[Y, None]]: ...
@overload
def adaptive_limit(fn: Callable[P, AsyncIterator[Y]], /) -> Callable[P, AsyncIterator[Y]]: ...
@overload
def adaptive_limit(
    name: str | None = None,
    *,
    initial: int = 20,
    min_limit: int = 1,
    max_limit: int = 1000,
    pace: bool = True,
    max_wait: float | None = None,
    max_queue_size: int = 1000,
    registry: StateStore | None = None,
) -> Decorator: ...
def adaptive_limit(
    name: Any = None,
    *,
    initial: int = 20,
    min_limit: int = 1,
    max_limit: int = 1000,
    pace: bool = True,
    max_wait: float | None = None,
    max_queue_size: int = 1000,
    registry: StateStore | None = None,
) -> Any:
    """
    Send no more than the provider takes: a limit of calls at a time, and of calls a second, that is learnt.

    The limit grows while answers come in normal time and the places are used. It shrinks when the provider is
    overloaded, when calls time out, and while answers take far longer than they normally do: first by the places that
    nobody used, then by half at most. If as few calls as in good times do not become quicker, their time is normal now.
    A provider that has stopped answering is asked by one more call in the time of an answer until it is back.
    After a rate limit calls are paced: not before the provider's `retry_after`, then at 0.7 of the rate that was
    being accepted, back at that rate after 5 seconds, carefully faster, and free after 15.

    Callers without a place wait in line, first come first served. Whoever would not be served in time is turned
    away at once: in time means that wait and a slow answer fit into the deadline of the enclosing anyio scope. While
    the line does not get shorter, it also means within a quarter of the time left: a line that stands makes everybody
    late. A `classified_retry` above asks again for those who were turned away, while their deadline allows.

    A call that is made inside another one, as when a function calls itself, goes on in the place of that one when
    there is no other: the outer one waits for it. An event loop that is closed with calls under way gives their
    places back.

    Put it below `failover`, where each endpoint has a limit of its own, and best right above `circuit_breaker`: then
    neither the timeout nor the slow calls of the circuit include the wait in line. (Below the circuit it is safe as
    well: nobody waits in line past the circuit's timeout.)

    Args:
        name: Call sites of one name share one limit. Default: the function's qualified name.
        initial: Calls at a time before anything is known. Default 20.
        min_limit: The limit never falls below this. Default 1.
        max_limit: It never grows above this. Default 1000.
        pace: Whether a rate limit sets a pace; if not, it shrinks the limit as an overload does. Default True.
        max_wait: Seconds in line at most; 0 never waits. Default None: as long as the caller's deadline allows,
            60 seconds for a caller without one.
        max_queue_size: Callers in line at most. Default 1000.
        registry: Where the limit lives. Default: `resilient_ai.registry`.

    Raises:
        LimitReachedError: By the decorated function, without calling: no place in time, or the line is full.
        TypeError: At decoration: not an async function.
        ValueError: At decoration: a bad setting, or the name exists with other settings.
    """

    def put_on(fn: Any) -> Any:
        where = registry if registry is not None else default_registry()
        return decorate(fn, AdaptiveLimitPolicy(None if bare else name, config, where))

    bare = callable(name)
    config = LimitConfig(initial, min_limit, max_limit, pace, max_wait, max_queue_size)
    return put_on(name) if bare else put_on
