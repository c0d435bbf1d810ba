"""The course of a call above its fallbacks: run it, and answer a failure by the first rung that has an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_ai._core.call_facts import DegradedFlag, flagged, watching
from resilient_ai._core.patience import callers_patience
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.started_call import begun, ended_early

from .fallback_call import FallbackCall
from .stream import hold
from .time_for_fallback import after_leaving, leaving_time, telling_time

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from resilient_ai._core.callers_deadline import Patience
    from resilient_ai._core.handlers import Handler

    from .fallback_call import FallbackSite


class DegradedFunction:
    """
    Runs one function above its fallbacks. A class, because a closure per function would need three times the memory.

    Args:
        inner: The layer below.
        site: What the function's calls have in common.
    """

    __slots__ = ("_inner", "_site")

    def __init__(self, inner: Handler, site: FallbackSite) -> None:
        self._inner = inner
        self._site = site

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        here, inner = self._site, self._inner
        if here.memories or watching() is not None:
            return await self._observed(fn, instance, args, kwargs)
        try:
            if (share := ended_early(fn, here.state)) is not None:
                result = await after_leaving(share, here.state, inner, fn, instance, args, kwargs)
            elif (patience := callers_patience()) is None:
                result = await inner(fn, instance, args, kwargs)
            else:
                result = await self._in_time(patience, fn, instance, args, kwargs)
        except Exception as error:
            if (answer := await FallbackCall(here, fn, instance, args, kwargs).answer(error)) is None:
                raise
            return answer.given
        if type(result) is ReturnedStream:
            hold(result, FallbackCall(here, fn, instance, args, kwargs))
        else:
            here.state.good.one_more()
        return result

    def _in_time(self, patience: Patience, *call: Any) -> Coroutine[Any, Any, Any]:
        """Run the layers below, and end them early enough for a fallback before the caller's deadline."""
        run = telling_time if self._site.plain else leaving_time
        return run(patience, self._site.state, self._inner, *call)

    async def _observed(
        self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The same for a call in which an observer wants to know whether a fallback answered anywhere."""
        first = begun(fn)
        here, flag = self._site, (None if first is None else first.flag) or DegradedFlag()
        call = FallbackCall(here, fn, instance, args, kwargs)
        here.check(call)
        with flagged(flag):
            try:
                if (share := ended_early(fn, here.state)) is not None:
                    result = await after_leaving(share, here.state, self._inner, fn, instance, args, kwargs)
                elif (patience := callers_patience()) is None:
                    result = await self._inner(fn, instance, args, kwargs)
                else:
                    result = await self._in_time(patience, fn, instance, args, kwargs)
            except Exception as error:
                if (answer := await call.answer(error)) is None:
                    raise
                return answer.given
        if type(result) is ReturnedStream:
            hold(result, call, flag)
            return result
        if here.memories:  # whether the call is watched makes no difference
            call.learn(streamed=False)
        here.state.good.one_more()
        if not flag.degraded:
            call.succeeded(result)
        return result
