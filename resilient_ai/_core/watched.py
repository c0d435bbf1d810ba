"""A call on a fast path that somebody watches: `watch()` is told there what the layers would have told it."""

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
    """What one layer tells of a good answer."""

    def __call__(self, seen: Seen, endpoint: str | None, degraded: bool, /) -> None:
        """
        Tell it.

        Args:
            seen: Is told.
            endpoint: Who has answered, where there are several.
            degraded: Whether a fallback has answered inside the function.
        """
        ...


class ToldLayers(NamedTuple):
    """
    What those who watch are told of the calls of one stack.

    Attributes:
        tells: What the layers tell.
        answers: Whether a layer may answer in the function's place, and wants to know whether somebody inside has.
        counted: Whether the function counts its usage itself, because a registry wants to know.
    """

    tells: tuple[Tell, ...]
    answers: bool
    counted: bool


@cache  # stacks of the same policies share one
def told_layers(tells: tuple[Tell, ...], *, answers: bool, counted: bool) -> ToldLayers:
    """That of a stack."""
    return ToldLayers(tells, answers, counted)


class WatchedCall:
    """
    One call.

    Args:
        seen: Who is told.
        layers: What of.
        endpoint: Who is asked, where there are several.
        time: How long the call may take; None: as long as it likes.
    """

    __slots__ = ("_endpoint", "_layers", "_seen", "flag", "time")

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
            # A text is the usual answer, and asking its class for something that it lacks takes a bare await.
            if type(result) is not str and hasattr(type(result), "__anext__") and gives_items(type(result)):
                has_opened(run)
            else:
                run.answered(result)
        return result

    def told(self) -> None:
        """The call has its answer."""
        degraded = self.flag is not None and self.flag.degraded
        for tell in self._layers.tells:
            tell(self._seen, self._endpoint, degraded)
