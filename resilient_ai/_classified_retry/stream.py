"""A stream below a retry: each item is judged, and after the commit point there is no retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_ai._classification.error_rules import rejection
from resilient_ai._core.errors import RejectedResultError
from resilient_ai._core.streams import stream_of

from .call import RetriedCall, answered

if TYPE_CHECKING:
    from resilient_ai._core.returned_stream import ReturnedStream

    from .site import RetrySite


async def hold(
    result: ReturnedStream,
    site: RetrySite,
    call: RetriedCall | None,
    request: tuple[float, tuple[Any, ...], dict[str, Any]],
) -> None:
    """
    Count a stream when it ends.

    Args:
        result: The stream.
        site: The call site of the retry.
        call: The call, if an attempt has failed; else None.
        request: When the call began, and its arguments.

    Raises:
        RejectedResultError: `reject=` rejects an item up to the commit point; the stream is closed.
    """
    stream, reject = stream_of(result), site.choices.reject

    def judge(item: Any) -> None:
        if reject is not None and (error_type := rejection(reject, item, site.function)) is not None:
            raise RejectedResultError(item, error_type, function=site.function)

    if reject is not None:
        await stream.look_at_begun(judge)
    stream.add(_RetriedStream(site, call, request), judge if reject is not None else None)


class _RetriedStream:
    __slots__ = ("_call", "_request", "_site")

    def __init__(
        self, site: RetrySite, call: RetriedCall | None, request: tuple[float, tuple[Any, ...], dict[str, Any]]
    ) -> None:
        self._site = site
        self._call = call
        self._request = request

    def ended(self) -> None:
        answered(self._site, self._call)

    def broke(self, error: Exception) -> None:
        (self._call or RetriedCall(self._site, *self._request)).end_midway(error)

    def left(self) -> None:
        """The consumer left, which tells nothing about the provider."""
