"""The course of a call through a circuit: asked for a ticket, run, and the circuit told how it went."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from resilient_ai._classification.classify import classify
from resilient_ai._classification.error_rules import means, rejection
from resilient_ai._core.backend import cancelled
from resilient_ai._core.errors import RejectedResultError
from resilient_ai._core.fast_path import begun
from resilient_ai._core.streams import END, Broken, pull

from .config import NEUTRAL
from .nested import inside_probe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from resilient_ai._classification.error_rules import Reject
    from resilient_ai._classification.verdict import Verdict
    from resilient_ai._core.handlers import Handler, StreamHandler

    from .config import CircuitConfig
    from .shared import SharedCircuit
    from .state import Ticket


class Guard:
    """
    What one layer does with each call, whichever circuit it goes through.

    Args:
        config: Says what is neutral.
        reject: Judges results.
        now: The clock.
    """

    __slots__ = ("_by_blame", "_ignore", "_now", "_reject")

    def __init__(self, config: CircuitConfig, reject: Reject | None, now: Callable[[], float]) -> None:
        self._ignore = config.ignore
        self._by_blame = all(each in config.ignore for each in NEUTRAL)
        self._reject = reject
        self._now = now

    def function(self, inner: Handler, breaker: SharedCircuit) -> Handler:
        """A handler that runs `inner` through a circuit."""
        now, circuit, judges = self._now, breaker.circuit, self._reject is not None

        async def guarded(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            run = inner
            if (first := begun(fn)) is not None:
                started, ticket = first.started, first.ticket
            else:
                started, ticket = now(), circuit.open_ticket
            if ticket is None:
                ticket = await self._admitted(breaker, started)
                run = inside_probe(circuit, ticket, inner)
            try:
                result = await run(fn, instance, args, kwargs)
            except Exception as error:
                self._failed(breaker, ticket, error, started, request=(args, kwargs))
                raise
            except BaseException:
                breaker.released(ticket)
                raise
            if judges:
                self._judge(breaker, ticket, result, started)
            breaker.good(ticket, started, now())
            return result

        return guarded

    def stream(self, inner: StreamHandler, first_item: Handler, next_item: Handler) -> Callable[..., Any]:
        """The same for streams, called with the circuit in front; the two handlers run the waiting for an item."""
        return partial(self._guard_stream, inner, first_item, next_item)

    async def _guard_stream(
        self,
        inner: StreamHandler,
        first_item: Handler,
        next_item: Handler,
        breaker: SharedCircuit,
        fn: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> AsyncGenerator[Any, None]:
        now, circuit = self._now, breaker.circuit
        started = now()
        answered: float | None = None  # when the first item came; reading on is at the consumer's pace
        held: Ticket | None = circuit.open_ticket
        if held is None:
            held = await self._admitted(breaker, started)
            first_item, next_item = inside_probe(circuit, held, first_item), inside_probe(circuit, held, next_item)
        stream = inner(fn, instance, args, kwargs)
        try:
            while (item := await pull(stream, first_item if answered is None else next_item)) is not END:
                if type(item) is Broken:
                    ticket, held = held, None
                    self._failed(breaker, ticket, item.error, started, answered, request=(args, kwargs))
                    item.throw()
                if answered is None:
                    answered = now()
                yield item
            ended = now()
            ticket, held = held, None
            breaker.succeeded(ticket, ended, (answered if answered is not None else ended) - started)
        finally:
            if held is not None:
                breaker.released(held)
            await stream.aclose()

    async def _admitted(self, breaker: SharedCircuit, started: float) -> Ticket:
        """A ticket of a circuit that is not closed; `CircuitOpenError` when it refuses."""
        if cancelled():
            await checkpoint()  # a cancelled caller hears of that, not of the circuit
        if started < breaker.circuit.refused_until:
            raise breaker.refusal(started)
        return breaker.admit(started)

    def _failed(
        self,
        breaker: SharedCircuit,
        ticket: Ticket,
        error: Exception,
        started: float,
        answered: float | None = None,
        request: tuple[object, ...] = (),
    ) -> None:
        """Tell the circuit of an error, unless that says nothing about the provider."""
        now = self._now()
        try:
            verdict = classify(error)
            neutral = self._ignores(error, verdict)
        except BaseException:  # from a classifier of the user's: says nothing about the provider
            breaker.released(ticket)
            raise
        if neutral:
            breaker.released(ticket)
        else:
            seconds = (answered if answered is not None else now) - started
            breaker.failed(ticket, now, seconds, error, verdict, request)

    def _judge(self, breaker: SharedCircuit, ticket: Ticket, result: Any, started: float) -> None:
        """Raise what `reject` calls the result; an error of `reject` itself is nobody's failure."""
        try:
            error_type = rejection(self._reject, result, breaker.name) if self._reject is not None else None
        except BaseException:
            breaker.released(ticket)
            raise
        if error_type is not None:
            error = RejectedResultError(result, error_type, function=breaker.name)
            self._failed(breaker, ticket, error, started)
            raise error

    def _ignores(self, error: Exception, verdict: Verdict) -> bool:
        if self._by_blame and verdict.blame in ("request", "credential", "program"):
            return True
        for rule in self._ignore:
            try:
                if means(rule, error, verdict):
                    return True
            except Exception as broken:  # noqa: BLE001 - the caller must see the provider's error, not this one
                name = getattr(rule, "__qualname__", type(rule).__qualname__)
                error.add_note(f"ignore predicate {name} raised {type(broken).__name__}; the failure counts")
        return False
