"""A stream below a fallback chain: after its first item, its errors go to the consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_ai._core.call_facts import flagged
from resilient_ai._core.streams import stream_of

if TYPE_CHECKING:
    from resilient_ai._core.call_facts import DegradedFlag
    from resilient_ai._core.returned_stream import ReturnedStream

    from .fallback_call import FallbackCall

_LONGEST_STREAM: Final = 1_000_000  # most characters that are collected for the memories


def hold(result: ReturnedStream, call: FallbackCall, flag: DegradedFlag | None = None) -> None:
    """
    Count a stream when it ends.

    Args:
        result: The stream.
        call: Its call.
        flag: Set if a fallback gives an item; None if nobody observes the call.
    """
    stream, layer = stream_of(result), _DegradedStream(call, flag)
    call.learn(streamed=True)
    if flag is not None:
        stream.wait_within(_flagging(flag))
    if layer.text is None:
        stream.add(layer)
        return
    for item in stream.begun:
        layer.text.add(item)
    stream.add(layer, layer.text.add)


def _flagging(flag: DegradedFlag) -> Any:
    async def run(fn: Any, _instance: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        with flagged(flag):
            return await fn()

    return run


class _DegradedStream:
    __slots__ = ("_call", "_flag", "text")

    def __init__(self, call: FallbackCall, flag: DegradedFlag | None) -> None:
        self._call = call
        self._flag = flag
        self.text = _StreamText() if flag is not None and call.is_remembered else None

    def ended(self) -> None:
        self._call.counted()
        if self._flag is not None and not self._flag.degraded:
            self._call.succeeded(self.text.whole() if self.text is not None else None)

    def broke(self, error: Exception) -> None:
        self._call.passed(error)

    def left(self) -> None:
        """The consumer left, which tells nothing about the provider."""


class _StreamText:
    """Collects the text of a stream; gives up at the first item that is not text, or if there is too much text."""

    __slots__ = ("_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] | None = []
        self._length = 0

    def add(self, item: Any) -> None:
        if self._pieces is None:
            return
        if not isinstance(item, str) or self._length + len(item) > _LONGEST_STREAM:
            self._pieces = None
        else:
            self._pieces.append(item)
            self._length += len(item)

    def whole(self) -> str | None:
        return "".join(self._pieces) if self._pieces else None
