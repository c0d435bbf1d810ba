"""
What each run of a function gave, for whoever counts tokens. Nothing of it is on the path of a call until somebody does.

A run is one time that the function itself is called, so that an attempt whose answer is thrown away is one as well.
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
    """One run of a function; one of `answered`, `failed`, `ended` and `left` is called, once."""

    def answered(self, result: Any) -> None:
        """It has returned something that is no stream."""

    def failed(self, error: BaseException) -> None:
        """It has raised, or was cancelled."""

    def gave(self, item: Any) -> None:
        """An item of the stream that it gives."""

    def ended(self, stream: Any) -> None:
        """The stream was read to its end."""

    def left(self) -> None:
        """The stream broke, or its consumer left."""


class Meter(Protocol):
    """Counts what the runs of one function gave."""

    def run(self, endpoint: str | None) -> Run:
        """A run begins, at this endpoint where there are several."""
        ...


class Meters(Protocol):
    """The meters of a registry."""

    def meter(self, call_site: str, listeners: tuple[Callable[[Any], object], ...] = ()) -> Meter:
        """
        That of one function.

        Args:
            call_site: Its name, which several functions may have.
            listeners: Who hears what each of its answers used.
        """
        ...


_run: ContextVar[Run | None] = ContextVar("resilient_ai.run", default=None)
# Of a stream that a function has returned on a fast path, until its layers take it over.
_run_of_opened: ContextVar[Run | None] = ContextVar("resilient_ai.run_of_opened", default=None)
OWN_VARIABLES.update((_run, _run_of_opened))

current_run = _run.get


def metered(inner: Handler, meter: Meter, endpoint: str | None, *, innermost: bool = True) -> Handler:
    """
    A handler that runs the function, and tells the meter of it.

    Args:
        inner: Runs what lies below.
        meter: Told.
        endpoint: Where the function is run.
        innermost: Whether it is the function itself that is run, and on a fast path tells the meter.
    """

    async def run_metered(fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if (started := begun(fn)) is not None and not gives_items(type(started.result)):  # told on the fast path
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
    The function of a fast path, which tells the meter of each run that gives no stream.

    Args:
        function: The function itself.
        meter: That of the function.
        position: Of the endpoint among its arguments; None: it takes none.
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
    """The run that has opened a stream on a fast path, which may have been told of usage already."""
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
        pass  # the call of a closed loop is collected in another context, which refuses the token


def _hold(result: ReturnedStream, run: Run) -> None:
    """Let a run see all items of its stream, and be the current one wherever the stream works for one."""
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
    """Tells a run how its stream ended."""

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


_watchers: Meter | None = None


def tell_watchers(meter: Meter) -> None:
    """Let this meter tell those who watch a call, where no registry counts."""
    global _watchers
    _watchers = meter
    tell_watchers_with(lambda handler: metered(handler, meter, None))


def run_for_watchers() -> Run | None:
    """A run of a function that somebody watches, where no registry counts."""
    return None if _watchers is None else _watchers.run(None)
