"""A call on a fast path that is watched: `watch()` learns there what the layers would have told it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .call_facts import DegradedFlag, current_flag, degraded_flag, lower_flag, no_fallback_answered
from .metering import has_opened, latest_run, run_for_watchers
from .opening import gives_items

if TYPE_CHECKING:
    from .call_facts import Seen
    from .metering import Run
    from .started_call import StartedCall

_set_flag = degraded_flag.set


class ToldLayers(NamedTuple):
    """
    What watchers are told about good calls of one stack.

    Attributes:
        attempts: Attempts that each is.
        answers: Whether a layer might have answered instead of the function.
        counted: Whether the function counts its usage itself, because a registry needs it.
    """

    attempts: int
    answers: bool
    counted: bool


told_layers = cache(ToldLayers)  # stacks of the same policies share one


class WatchedCall(DegradedFlag):
    """
    A watched call, from when its function is called. One of `answered`, `opened` and `failed` is called at its end.

    It is the flag of the call, and stands for its run: most functions report no usage, so that only a report makes the
    run. Thus a call sets one context variable.

    Args:
        seen: Takes what is told.
        layers: What is told.
        endpoint: The endpoint that is called, if there are several.

    Attributes:
        run_around: The innermost run of its own when the call began.
    """

    __slots__ = ("_endpoint", "_layers", "_run", "_seen", "_token", "run_around")

    def __init__(self, seen: Seen, layers: ToldLayers, endpoint: str | None) -> None:
        self.degraded = False
        self.outer = current_flag()
        self.run_around = latest_run()
        self._seen = seen
        self._layers = layers
        self._endpoint = endpoint
        self._run: Run | None = None
        self._token = _set_flag(self)

    def run(self) -> Run | None:
        """Return the run of the call, which counts what the function reports."""
        if self._run is None:
            self._run = run_for_watchers(innermost_run(self.run_around, self.outer))
        return self._run

    def answered(self, result: Any) -> None:
        """Tell the watcher about a good answer that is no stream."""
        self._end(result)
        seen, layers = self._seen, self._layers
        seen.attempts += layers.attempts
        if (endpoint := self._endpoint) is not None:
            seen.endpoint = endpoint
            seen.endpoints_tried += (endpoint,)
        if layers.answers and not self.degraded and (seen.degraded or seen.error is not None):  # of an earlier call
            no_fallback_answered(seen, None)

    def opened(self, result: Any, call: StartedCall) -> None:
        """Hand over to the layers, which take over a stream or a result beside which something else has begun."""
        call.flag = self
        self._end(result)

    def failed(self, error: BaseException, call: StartedCall) -> None:
        """Hand over to the layers, because the function has raised."""
        call.flag = self
        lower_flag(self, self._token)
        if not self._layers.counted and (run := self.run()) is not None:
            run.failed(error)

    def _end(self, result: Any) -> None:
        lower_flag(self, self._token)
        # Text is the usual answer, and has no usage.
        if (self._run is None and type(result) is str) or self._layers.counted or (run := self.run()) is None:
            return
        if gives_items(type(result)):
            has_opened(run)
        else:
            run.answered(result)


def current_run() -> Run | None:
    """Return the run of the innermost function that is counted or watched."""
    run, flag = latest_run(), current_flag()
    return run if flag is None else innermost_run(run, flag)


def innermost_run(run: Run | None, flag: DegradedFlag | None) -> Run | None:
    """
    Return the innermost of a run and of the watched calls among the flags around each other.

    Args:
        run: The innermost run of its own.
        flag: The innermost flag.
    """
    while flag is not None:
        if type(flag) is WatchedCall:  # a counted function may have begun a run inside it
            return flag.run() if flag.run_around is run else run
        flag = flag.outer
    return run
