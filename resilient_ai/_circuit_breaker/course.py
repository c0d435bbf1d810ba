"""The course of a call through a circuit: get a ticket, run, and report the outcome to the circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_rules import means, rejection
from resilient_ai._core.backend import cancelled
from resilient_ai._core.deadline import Opens, bounded
from resilient_ai._core.errors import RejectedResultError
from resilient_ai._core.opening import call_plainly
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.started_call import begun
from resilient_ai._core.streams import stream_of

from .config import NEUTRAL
from .nested import inside_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._classification.error_rules import Reject
    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.clock import Clock
    from resilient_ai._core.errors import ErrorType
    from resilient_ai._core.handlers import Handler

    from .config import CircuitConfig
    from .shared import SharedCircuit
    from .tickets import Ticket


class Guard:
    """
    What one layer does with each call, whichever circuit the call goes through.

    Args:
        config: The settings, which say what is neutral.
        reject: Judges results; None: all results are good.
        clock: The registry's clock.
        name: The name in the error of a stream that stalls.
        plain: Whether the function is plain, so that its callers block.
    """

    __slots__ = ("_by_blame", "_clock", "_config", "_name", "_next_item", "_plain", "_reject", "judges", "now")

    def __init__(
        self,
        config: CircuitConfig,
        reject: Reject | None,
        clock: Clock,
        name: str,
        *,
        plain: bool = False,
    ) -> None:
        self._config = config
        self._plain = plain
        self._by_blame = all(each in config.ignore for each in NEUTRAL)
        self._reject = reject
        self.judges = reject is not None
        self.now = clock.now
        self._clock = clock
        self._name = name
        self._next_item: Handler | None = None  # waits for an item within the idle timeout; made for the first stream

    def function(self, inner: Handler, breaker: SharedCircuit, timed: Handler | None) -> Handler:
        """A handler that runs `inner` through a circuit; `timed`, if given, runs it within the timeout."""
        return _GuardedFunction(self, inner, breaker, timed).call

    async def hold(
        self,
        result: ReturnedStream,
        breaker: SharedCircuit,
        ticket: Ticket,
        started: float,
        request: tuple[object, ...],
        *,
        probing: bool,
    ) -> None:
        """Let a stream keep its ticket until it ends."""
        stream = stream_of(result)
        layer = GuardedStream(self, breaker, ticket, started, request)
        if self._reject is not None:
            try:
                await stream.look_at_begun(layer.judge)
            except Exception as error:
                layer.broke(error)
                raise
            except BaseException:
                layer.left()
                raise
        if stream.begun:
            layer.answered = self.now()
        run = self._within_idle_timeout()
        if probing:
            run = inside_probe(breaker.circuit, ticket, run or call_plainly)
        if run is not None:
            stream.wait_within(run, limits=not probing)
        stream.add(layer, layer.judge if self._reject is not None else None)

    def _within_idle_timeout(self) -> Handler | None:
        idle = self._config.idle_timeout_seconds
        if idle is not None and self._next_item is None:
            self._next_item = bounded(call_plainly, idle, self._clock, self._name, renewal=idle, items=True)
        return self._next_item

    async def admitted(self, breaker: SharedCircuit, started: float) -> Ticket:
        """A ticket of a circuit that is not closed; raises `CircuitOpenError` if it refuses."""
        if not self._plain and cancelled():
            await checkpoint()  # a cancelled caller gets the cancellation, not CircuitOpenError
        if started < breaker.circuit.refused_until:
            raise breaker.refusal(started)
        return breaker.admit(started)

    def failed(
        self,
        breaker: SharedCircuit,
        ticket: Ticket,
        error: Exception,
        started: float,
        answered: float | None = None,
        request: tuple[object, ...] = (),
    ) -> None:
        """Report an error to the circuit, unless it tells nothing about the provider."""
        now = self.now()
        try:
            verdict = classify(error)
            neutral = self._ignores(error, verdict)
        except BaseException:  # from the user's own classifier: it tells nothing about the provider
            breaker.released(ticket)
            raise
        if neutral:
            breaker.released(ticket)
        else:
            seconds = (answered if answered is not None else now) - started
            breaker.failed(ticket, now, seconds, error, verdict, request)

    def judge(self, breaker: SharedCircuit, ticket: Ticket, result: Any, started: float) -> None:
        """Raise if `reject` rejects the result; an error of `reject` itself does not count as a failure."""
        try:
            error_type = self.rejects(result, breaker.name)
        except BaseException:
            breaker.released(ticket)
            raise
        if error_type is not None:
            error = RejectedResultError(result, error_type, function=breaker.name)
            self.failed(breaker, ticket, error, started)
            raise error

    def rejects(self, result: Any, owner: str) -> ErrorType | None:
        return rejection(self._reject, result, owner) if self._reject is not None else None

    def _ignores(self, error: Exception, verdict: Verdict) -> bool:
        if self._by_blame and verdict.blame in ("request", "credential", "program"):
            return True
        for rule in self._config.ignore:
            try:
                if means(rule, error, verdict):
                    return True
            except Exception as broken:  # noqa: BLE001 - the caller must see the provider's error, not this one
                name = getattr(rule, "__qualname__", type(rule).__qualname__)
                error.add_note(f"ignore predicate {name} raised {type(broken).__name__}; the failure counts")
        return False


class _GuardedFunction:
    """Runs one function through one circuit. A class, because a closure each would need three times the memory."""

    __slots__ = ("_breaker", "_guard", "_inner", "_timed")

    def __init__(self, guard: Guard, inner: Handler, breaker: SharedCircuit, timed: Handler | None) -> None:
        self._guard = guard
        self._inner = inner
        self._breaker = breaker
        self._timed = timed

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Attributes are read into local variables first: Python calls a variable faster than a slot.
        guard = self._guard
        breaker, now = self._breaker, guard.now
        timed = self._timed
        run = inner = self._inner
        if (first := begun(fn)) is not None:
            started, ticket = first.started, first.ticket
        else:
            started, ticket = now(), breaker.circuit.open_ticket
        if ticket is None:
            ticket = await guard.admitted(breaker, started)
            run = inside_probe(breaker.circuit, ticket, inner)
        try:
            if timed is None:
                result = await run(fn, instance, args, kwargs)
            else:
                result = await timed(Opens(run, fn, instance, args, kwargs), None, (), {})
        except Exception as error:
            guard.failed(breaker, ticket, error, started, request=(args, kwargs))
            raise
        except BaseException:
            breaker.released(ticket)
            raise
        if type(result) is ReturnedStream:
            await guard.hold(result, breaker, ticket, started, (args, kwargs), probing=run is not inner)
            return result
        if guard.judges:
            guard.judge(breaker, ticket, result, started)
        ended = now()
        breaker.answered(ticket, ended, ended - started)
        return result


class KeyInUse:
    """Keeps the circuit of a key from being dropped while a stream lasts."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: SharedCircuit) -> None:
        self._breaker = breaker

    def ended(self) -> None:
        self._breaker.left()

    def broke(self, error: Exception) -> None:  # noqa: ARG002 - the circuit itself judges it
        self._breaker.left()

    def left(self) -> None:
        self._breaker.left()


class GuardedStream:
    """
    Holds the ticket of a circuit while a stream is read.

    Attributes:
        answered: When the stream reached its commit point; after that the consumer sets the pace.
    """

    __slots__ = ("_breaker", "_guard", "_own_error", "_request", "_started", "_ticket", "answered")

    def __init__(
        self, guard: Guard, breaker: SharedCircuit, ticket: Ticket, started: float, request: tuple[object, ...]
    ) -> None:
        self._guard = guard
        self._breaker = breaker
        self._ticket = ticket
        self._started = started
        self._request = request
        self._own_error = False  # whether `reject` itself raised an error
        self.answered: float | None = None

    def judge(self, item: Any) -> None:
        """Raise if `reject` rejects an item."""
        self._own_error = True
        error_type = self._guard.rejects(item, self._breaker.name)
        self._own_error = False
        if error_type is not None:
            raise RejectedResultError(item, error_type, function=self._breaker.name)

    def ended(self) -> None:
        ended = self._guard.now()
        seconds = (self.answered if self.answered is not None else ended) - self._started
        self._breaker.succeeded(self._ticket, ended, seconds, by_layers=True)

    def broke(self, error: Exception) -> None:
        if self._own_error:
            self.left()
        else:
            self._guard.failed(self._breaker, self._ticket, error, self._started, self.answered, request=self._request)

    def left(self) -> None:
        self._breaker.released(self._ticket)
