"""The course of a call through a retry: the first attempt bare, each later one after a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import rejections
from resilient_ai._core.opening import is_innermost
from resilient_ai._core.read_once import ReadOnce
from resilient_ai._core.returned_stream import ReturnedStream
from resilient_ai._core.started_call import begun
from resilient_ai._core.streams import Broken, dispose_rejected

from .call import RetriedCall, answered, judge_of
from .stream import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_ai._core.handlers import Handler

    from .site import RetrySite


class RetriedFunction:
    """
    Runs one function with its retries. A class, because a closure per function would need three times the memory.

    Args:
        inner: The layer below.
        site: The call site of the retry.
    """

    __slots__ = ("_above_the_function", "_inner", "_judge", "_now", "_site")

    def __init__(self, inner: Handler, site: RetrySite) -> None:
        self._inner = inner
        self._site = site
        self._now = site.registry.clock.now
        self._judge = judge_of(site)
        self._above_the_function = is_innermost(inner)

    async def call(self, fn: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inner, here, now = self._inner, self._site, self._now
        judge = self._judge
        started = now() if (first := begun(fn)) is None else first.started
        call: RetriedCall | None = None
        once = ReadOnce.among(args, kwargs, begun=first is not None)
        broken = first.take_error() if first is not None and self._above_the_function else None
        while True:
            if broken is None:
                try:
                    if call is None or not call.answers:
                        result = await inner(fn, instance, args, kwargs)
                    else:
                        result = await call.attempt(inner, fn, instance, args, kwargs)
                    if type(result) is ReturnedStream:
                        await hold(result, here, call, (started, args, kwargs))
                        return result
                    if judge is not None:
                        judge(result, call)
                except Exception as error:  # noqa: BLE001 - raised or retried below
                    broken = Broken(error)
                else:
                    answered(here, call)
                    return result
            call = call or RetriedCall(here, started, args, kwargs, once)
            unwanted = rejections(broken.error)
            try:
                seconds = call.wait_before_next(broken)
                try:
                    await here.waiting.sleep(seconds)
                except BaseException:
                    call.left_waiting()
                    raise
                call.waited()
                if unwanted:
                    await dispose_rejected(unwanted)
            finally:
                del unwanted  # error -> traceback -> frame -> error is a reference cycle
            broken = None
