"""A call on a fast path that is watched: `watch()` learns there what the layers would have told it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .call_facts import DegradedFlag, current_flag, degraded_flag, lower_flag
from .errors import mark_if_wrong_call
from .metering import has_opened, reset_run, run_for_watchers, set_run
from .opening import gives_items

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call_facts import Seen
    from .time_bound import TimeBound


class Tell(Protocol):
    """Tells a watcher what one layer knows about a good answer."""

    def __call__(self, seen: Seen, endpoint: str | None, degraded: bool, /) -> None:
        """
        Tell a watcher.

        Args:
            seen: Takes what is told.
            endpoint: The endpoint that answered, if there are several.
            degraded: Whether a fallback answered inside the function.
        """
        ...


class ToldLayers(NamedTuple):
    """
    What watchers are told about the calls of one stack.

    Attributes:
        tells: Tell what each layer knows.
        answers: Whether a layer may answer instead of the function, and needs to know whether a layer inside did.
        counted: Whether the function counts its usage itself, because a registry needs it.
    """

    tells: tuple[Tell, ...]
    answers: bool
    counted: bool


@cache  # stacks of the same policies share one
def told_layers(tells: tuple[Tell, ...], *, answers: bool, counted: bool) -> ToldLayers:
    """Return what watchers of a stack are told."""
    return ToldLayers(tells, answers, counted)


class WatchedCall:
    """
    A watched call.

    Args:
        seen: Takes what is told.
        layers: What is told.
        endpoint: The endpoint that is called, if there are several.
        time: How long the call may take; None: any time.
    """

    __slots__ = ("_endpoint", "_layers", "_seen", "flag", "time")

    watched = True

    def __init__(self, seen: Seen, layers: ToldLayers, endpoint: str | None, time: TimeBound | None) -> None:
        self._seen = seen
        self._layers = layers
        self._endpoint = endpoint
        self.flag = DegradedFlag() if layers.answers else None
        self.time = time

    async def run(
        self,
        function: Callable[..., Any],
        within: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call a function, as a `TimeBound` does."""
        flag, run = self.flag, None if self._layers.counted else run_for_watchers()
        outer = current_flag()
        flag_token = None if flag is None else degraded_flag.set(flag)
        run_token = None if run is None else set_run(run)
        try:
            if (time := self.time) is not None:
                result = await time.run(function, within, args, kwargs)
            elif within is None:
                result = await (function(*args, **kwargs) if kwargs else function(*args))
            else:
                result = await within(args, kwargs)
        except BaseException as error:
            mark_if_wrong_call(error)
            if run is not None:
                run.failed(error)
            raise
        finally:
            if run_token is not None:
                reset_run(run_token)
            if flag is not None and flag_token is not None:
                lower_flag(flag, flag_token, outer)
        if run is not None:
            # Text is the usual answer, and looking for an attribute that its class lacks costs as much as a bare await.
            if type(result) is not str and hasattr(type(result), "__anext__") and gives_items(type(result)):
                has_opened(run)
            else:
                run.answered(result)
        return result

    def told(self) -> None:
        """Tell the watcher about the answer."""
        degraded = self.flag is not None and self.flag.degraded
        for tell in self._layers.tells:
            tell(self._seen, self._endpoint, degraded)
