"""
Report the results of each run of a function to a meter that counts tokens. Without a meter, calls do not pass through
here.

A run is one call of the function itself, so an attempt whose answer is discarded is a run too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .call_facts import OWN_VARIABLES
from .errors import mark_if_wrong_call
from .opening import gives_items, tell_watchers_with
from .returned_stream import ReturnedStream
from .started_call import begun
from .streams import OpenStream

if TYPE_CHECKING:
    from .handlers import Handler


class Run(Protocol):
    """One run of a function. Exactly one of `answered`, `failed`, `ended` and `left` is called, once."""

    def answered(self, result: Any) -> None:
        """The function has returned something other than a stream."""

    def failed(self, error: BaseException) -> None:
        """The function has raised, or was cancelled."""

    def gave(self, item: Any) -> None:
        """The stream of the function has given an item."""

    def ended(self, stream: Any) -> None:
        """The stream was read to its end."""

    def left(self) -> None:
        """The stream broke, or its consumer left."""


class Meter(Protocol):
    """Counts the results of the runs of one function."""

    def run(self, endpoint: str | None) -> Run:
        """Begin a run, at this endpoint if there are several."""
        ...


class Meters(Protocol):
    """The meters of a registry."""

    def meter(self, call_site: str, listeners: tuple[Callable[[Any], object], ...] = ()) -> Meter:
        """
        The meter of one function.

        Args:
            call_site: Its name, which several functions may share.
            listeners: Called with the usage of each of its answers.
        """
        ...


_run: ContextVar[Run | None] = ContextVar("resilient_ai.run", default=None)
# The run of a stream that a function has returned on a fast path, until its layers take it over.
_run_of_opened: ContextVar[Run | None] = ContextVar("resilient_ai.run_of_opened", default=None)
OWN_VARIABLES.update((_run, _run_of_opened))

latest_run = _run.get


def metered(inner: Handler, meter: Meter, endpoint: str | None, *, innermost: bool = True) -> Handler:
    """
    A handler that runs the function, and reports to the meter.

    Args:
        inner: The layer below.
        meter: The meter.
        endpoint: The endpoint at which the function runs; None without endpoints.
        innermost: Whether the handler runs the function itself, which reports to the meter on a fast path.
    """

    async def run_metered(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Already reported on the fast path.
        if (started := begun(fn)) is not None and not gives_items(type(started.result)):
            return await inner(fn, instance, args, kwargs)
        run = meter.run(endpoint) if started is None or not innermost else _take_opened(meter, endpoint)
        token = _run.set(run)
        try:
            result = await inner(fn, instance, args, kwargs)
        except BaseException as error:
            run.failed(error)
            raise
        finally:
            reset_run(token)
        if type(result) is ReturnedStream:
            _hold(result, run)
        else:
            run.answered(result)
        return result

    return run_metered


def metered_function(function: Callable[..., Any], meter: Meter, position: int | None) -> Callable[..., Any]:
    """
    The function for a fast path, which reports each run without a stream to the meter.

    Args:
        function: The function itself.
        meter: The meter of the function.
        position: Position of the endpoint among its arguments; None if it takes none.
    """

    async def run_metered(*args: Any, **kwargs: Any) -> Any:
        run = meter.run(None if position is None else getattr(args[position], "name", None))
        token = _run.set(run)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            mark_if_wrong_call(error)
            run.failed(error)
            raise
        finally:
            reset_run(token)
        if hasattr(type(result), "__anext__") and gives_items(type(result)):
            has_opened(run)
        else:
            run.answered(result)
        return result

    return run_metered


def _take_opened(meter: Meter, endpoint: str | None) -> Run:
    """The run that has opened a stream on a fast path, which may already have a reported usage."""
    run = _run_of_opened.get()
    _run_of_opened.set(None)
    return meter.run(endpoint) if run is None else run


set_run = _run.set
# Of a run whose function has returned a stream on a fast path: the layers take the stream over, and hold it.
has_opened = _run_of_opened.set


def reset_run(token: Any) -> None:
    try:  # noqa: SIM105 - suppress() would cost every call
        _run.reset(token)
    except ValueError:
        pass  # the call of a closed loop is garbage-collected in another context, where the token is not valid


def _hold(result: ReturnedStream, run: Run) -> None:
    """Let a run get all items of its stream, and be the current run while the stream works on an item."""
    stream: OpenStream = result._self_stream

    async def within(fn: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = _run.set(run)
        try:
            return await fn(*args, **kwargs)
        finally:
            reset_run(token)

    for item in stream.begun:
        run.gave(item)
    stream.add(_RunOfStream(run, result.__wrapped__), run.gave)
    stream.wait_within(within)


class _RunOfStream:
    """Reports the end of a stream to its run."""

    __slots__ = ("_run", "_stream")

    def __init__(self, run: Run, stream: Any) -> None:
        self._run = run
        self._stream = stream

    def ended(self) -> None:
        self._run.ended(self._stream)

    def broke(self, error: Exception) -> None:  # noqa: ARG002
        self._run.left()

    def left(self) -> None:
        self._run.left()


_run_for_watchers: Callable[[Run | None], Run | None] = lambda _around: None  # noqa: E731 - set by who counts usage


def tell_watchers(meter: Meter, run: Callable[[Run | None], Run]) -> None:
    """
    Let watchers be told about calls that no registry counts.

    Args:
        meter: Tells them about the runs of layers.
        run: Makes such a run on a fast path, given the one around it.
    """
    global _run_for_watchers
    _run_for_watchers = run
    tell_watchers_with(lambda handler: metered(handler, meter, None))


def run_for_watchers(around: Run | None) -> Run | None:
    """Return a new run of a function that is watched but not counted by a registry."""
    return _run_for_watchers(around)
