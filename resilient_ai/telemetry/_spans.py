"""OpenTelemetry's spans: one for each call, and below it one for each attempt."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import trace as otel
from opentelemetry.trace import Link, Span, StatusCode, TracerProvider, use_span

from resilient_ai._classification.classify import classify
from resilient_ai._core.call_facts import Seen, following, watch, watching
from resilient_ai._core.observers import made_for
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.streams import stream_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_ai._core.handlers import Handler
    from resilient_ai._core.observers import HasPolicies
    from resilient_ai._registry import Registry
    from resilient_ai.events import Event

_EVENT_FIELDS = ("error_type", "reason", "delay", "attempt", "to", "rung", "state", "rest", "retry_after")


def trace(registry: Registry, provider: TracerProvider | None) -> Callable[[], None]:
    """Make spans until the returned function is called."""
    tracer = _Tracer(registry, otel.get_tracer("resilient_ai", tracer_provider=provider))
    registry.observe(tracer)
    unsubscribe = registry.subscribe(_tell_span, level="info")

    def off() -> None:
        registry.observe_no_more(tracer)
        unsubscribe()

    return off


class _Followed:
    """A call with its span."""

    __slots__ = ("attempts", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.attempts = 0


class _Tracer:
    def __init__(self, registry: Registry, tracer: otel.Tracer) -> None:
        self._now = registry.clock.now
        self._tracer = tracer

    def wants(self, stack: HasPolicies) -> bool:  # noqa: ARG002
        return True

    def call(self, call_site: str, handler: Handler) -> Handler:
        """Make one span for the whole call."""

        async def called(*call: Any) -> Any:
            span = self._tracer.start_span(f"resilient {call_site}", attributes={"resilient_ai.call_site": call_site})
            followed, outer = _Followed(span), watching()
            with (
                _ended_unless_stream(span) as ending,
                _current(span),
                _set(following, followed),
                _set(made_for, ()),
                watch() as seen,
            ):
                try:
                    result = ending.result(await handler(*call))
                finally:
                    if outer is not None:
                        outer.add(seen)
                    _describe(span, followed, seen)
            return result

        return called

    def attempt(self, call_site: str, endpoint: str | None, handler: Handler) -> Handler:  # noqa: ARG002
        """Make one span for each call of the function, the parent of all spans that start inside."""
        name = f"attempt {endpoint}" if endpoint is not None else "attempt"

        async def attempted(fn: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            followed, given = following.get(), args[0] if endpoint is not None and args else None
            attributes = _attempt_attributes(followed, endpoint, given)
            span = self._tracer.start_span(name, attributes=attributes, links=_links(followed))
            started = self._now()
            with _ended_unless_stream(span) as ending, _current(span):
                result = ending.result(await handler(fn, instance, args, kwargs))
                if type(result) is ReturnedStream:
                    span.set_attribute("gen_ai.response.time_to_first_chunk", self._now() - started)
            return result

        return attempted


def _attempt_attributes(followed: Any, endpoint: str | None, given: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if isinstance(followed, _Followed):
        followed.attempts += 1
        attributes["resilient_ai.attempt"] = followed.attempts
    if endpoint is not None:
        attributes["resilient_ai.endpoint"] = endpoint
        for ours, theirs in (("provider", "gen_ai.provider.name"), ("model", "gen_ai.request.model")):
            if isinstance(value := getattr(given, ours, None), str):
                attributes[theirs] = value
    return attributes


def _links(followed: Any) -> list[Link]:
    """Links to the other calls that share a batch."""
    others = [each for each in made_for.get() if isinstance(each, _Followed) and each is not followed]
    return [Link(each.span.get_span_context()) for each in others]


def _describe(span: Span, followed: _Followed, seen: Seen) -> None:
    if not span.is_recording():
        return
    span.set_attributes({"resilient_ai.attempts": followed.attempts, "resilient_ai.degraded": seen.degraded})
    if source := seen.source or seen.endpoint:
        span.set_attribute("resilient_ai.source", source)


def _current(span: Span) -> Any:
    # Without OpenTelemetry's own handling of errors, which writes their text into the span, twice.
    return use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)


class _Ending:
    """The end of a span: with its block, or with the stream that the block returned."""

    __slots__ = ("by_stream", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.by_stream = False

    def result(self, result: Any) -> Any:
        """Note the result of the block."""
        if type(result) is ReturnedStream:
            stream_of(result).add(self)
            self.by_stream = True
        return result

    def ended(self) -> None:
        self.span.end()

    def broke(self, error: Exception) -> None:
        _failed(self.span, error)
        self.span.end()

    def left(self) -> None:
        self.span.end()


@contextmanager
def _ended_unless_stream(span: Span) -> Iterator[_Ending]:
    ending = _Ending(span)
    try:
        yield ending
    except Exception as error:
        _failed(span, error)
        raise
    except BaseException:  # cancelled, for example the loser of a hedge: not an error
        span.set_attribute("resilient_ai.cancelled", True)
        raise
    finally:
        if not ending.by_stream:
            span.end()


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    before = variable.get()
    variable.set(value)
    try:
        yield
    finally:
        variable.set(before)  # without a token, which is not valid in another context


def _failed(span: Span, error: Exception) -> None:
    """Record only the type of an error: its text may contain a prompt."""
    kind = classify(error).error_type.value
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, kind)


def _tell_span(event: Event) -> None:
    """Add an event to the current span: listeners run in the context of the call that an event is about, if any."""
    followed = following.get()
    if isinstance(followed, _Followed) and followed.span.is_recording():
        # Without the name: a key may identify a person.
        about = {"call_site": event.call_site, "endpoint": event.endpoint}
        about |= {name: getattr(event, name, None) for name in _EVENT_FIELDS}
        shown = {f"resilient_ai.{name}": value for name, value in about.items() if isinstance(value, str | int | float)}
        followed.span.add_event(event.log_name, shown)
