"""The twin of an endpoint for plain code: the same requests and replies, with the SDK's blocking client."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from resilient_ai._core.deadline import seconds_left
from resilient_ai._core.plain_calls import run_to_end
from resilient_ai._core.plain_streams import one_step
from resilient_ai._core.public import public
from resilient_ai._failover.endpoint import Twin

if TYPE_CHECKING:
    from types import TracebackType

    from resilient_ai._usage.reply import Reply

    from ._messages import Prompt
    from ._plain_client import PlainClient
    from ._stream import ReplyStream


class AsyncTwin(Protocol):
    """What this requires of the endpoint."""

    name: str
    provider: str
    model: str | None
    region: str | None
    weight: float
    context_window: int | None
    _timeout: float
    _plain_client: PlainClient | None

    async def complete(self, prompt: Prompt, *, tools: Any, schema: Any, **params: object) -> Reply: ...
    def stream(self, prompt: Prompt, *, tools: Any, schema: Any, **params: object) -> ReplyStream: ...
    async def embed(self, texts: Sequence[str], **params: object) -> list[list[float]]: ...
    async def check(self) -> None: ...
    async def _close(self, client: Any) -> None: ...


@public("providers")
class SyncReplyStream(Iterator[str]):
    """
    An iterator over pieces of text, for plain code.

    Attributes:
        reply: The whole answer, after the stream has ended well; None before that, or if it failed or was left early.
    """

    def __init__(self, stream: ReplyStream) -> None:
        self._stream = stream

    @property
    def reply(self) -> Reply | None:
        return self._stream.reply

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            return str(one_step(self._stream.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Leave the stream, and close its connection."""
        one_step(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@public("providers")
class SyncEndpoint(Twin):
    """
    An endpoint for plain code, `endpoint.sync`: the same name, health, settings and replies, with blocking methods.

    `failover` passes it to a plain function in place of the endpoint. Within a `deadline()`, the timeout of a request
    is at most the time left.
    """

    def __init__(self, endpoint: AsyncTwin, client: PlainClient) -> None:
        twin = copy.copy(endpoint)
        twin._plain_client = client
        self._twin = twin
        self._client = client

    @property
    def name(self) -> str:
        return self._twin.name

    @property
    def provider(self) -> str:
        return self._twin.provider

    @property
    def model(self) -> str | None:
        return self._twin.model

    @property
    def region(self) -> str | None:
        return self._twin.region

    @property
    def weight(self) -> float:
        return self._twin.weight

    @property
    def context_window(self) -> int | None:
        return self._twin.context_window

    def complete(
        self, prompt: Prompt, *, tools: Sequence[Any] | None = None, schema: Any = None, **params: object
    ) -> Reply:
        """Ask for one answer, with the arguments and errors of the endpoint's `complete`."""
        params = self._in_time(params)
        return run_to_end(self._twin.complete(prompt, tools=tools, schema=schema, **params), self.name)  # type: ignore[no-any-return]

    def stream(
        self, prompt: Prompt, *, tools: Sequence[Any] | None = None, schema: Any = None, **params: object
    ) -> SyncReplyStream:
        """Ask for an answer in pieces; use `with` to leave it early, so that it ends at once."""
        params = self._in_time(params)
        return SyncReplyStream(self._twin.stream(prompt, tools=tools, schema=schema, **params))

    def embed(self, texts: Sequence[str], **params: object) -> list[list[float]]:
        """One vector for each text, in order."""
        return run_to_end(self._twin.embed(texts, **self._in_time(params)), self.name)  # type: ignore[no-any-return]

    def check(self) -> None:
        """Check that the provider can be reached and accepts our key; raises if not. Costs no tokens."""
        run_to_end(self._twin.check(), self.name)

    def close(self) -> None:
        """Close the client; the next call makes a new one. The user's own client stays open."""
        if (client := self._client.take()) is not None:
            run_to_end(self._twin._close(client), self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{self._twin!r}.sync"

    def _in_time(self, params: dict[str, object]) -> dict[str, object]:
        """Shorten the timeout of a request to the time left of the caller's deadline."""
        left = seconds_left()
        if left == math.inf:
            return params
        given = params.get("timeout")
        usual = given if isinstance(given, int | float) else self._twin._timeout
        return {**params, "timeout": max(0.001, min(usual, left))}
