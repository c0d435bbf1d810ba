"""An HTTP API of one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.errors import StreamTruncatedError
from resilient_ai._core.public import public

from ._endpoint import SECONDS, EndpointReplyError, Prompt, ProviderEndpoint, host_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import httpx2


@public("providers")
class HTTPEndpoint(ProviderEndpoint):
    """
    An API of your own: JSON `{"prompt": …}` in, `{"content": …}` out.

    Messages are sent as `{"messages": […]}`, parameters beside them under their own names. A stream is asked for
    with `"stream": true` and read as server-sent events, each `{"content": …}`, the last `[DONE]`.

    Args:
        name: Unique among the endpoints of one failover.
        url: Where requests are posted to.
        headers: Sent with each request; keys go here.
        model: Sent as `"model"` if given.
        region: For people, and for strategies of your own.
        weight: Share of calls under `strategy="weighted"`. Default 1.
        client: An `httpx2.AsyncClient` of your own, left open.
        provider: Default: the host of `url`.
        context_window: Tokens. Default: unknown.
        timeout: Seconds that a call may wait for the next bytes. Default 120.

    Raises:
        ImportError: The HTTP client is missing: `pip install 'resilient-ai[http]'`.
        ValueError: A bad setting.
    """

    _extra, _module = "http", "httpx2"

    def __init__(
        self,
        name: str,
        *,
        url: str,
        headers: Mapping[str, str] | None = None,
        model: str | None = None,
        region: str | None = None,
        weight: float = 1.0,
        client: httpx2.AsyncClient | None = None,
        provider: str | None = None,
        context_window: int | None = None,
        timeout: float = SECONDS,
    ) -> None:
        host = host_of(url)
        if host is None:
            raise ValueError(f"url of endpoint {name!r} must be an absolute http(s) address")
        super().__init__(
            name,
            provider=provider if provider is not None else host,
            region=region,
            weight=weight,
            context_window=context_window,
            timeout=timeout,
            client=client,
        )
        self.model = model
        self._url = url
        self._headers = dict(headers or {})

    async def complete(self, prompt: Prompt, **params: object) -> str:
        client, request = await self._request(prompt, params)
        response = await client.send(request)
        body = self._body(response)
        content = body.get("content") if isinstance(body, dict) else None
        if not isinstance(content, str):
            raise EndpointReplyError(self.name, response.status_code, body, response)
        return content

    async def stream(self, prompt: Prompt, **params: object) -> AsyncGenerator[str, None]:
        client, request = await self._request(prompt, {**params, "stream": True})
        response = await client.send(request, stream=True)
        items, finished = 0, False
        try:
            if not response.is_success:
                await response.aread()
                self._body(response)
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    finished = True
                    continue  # read on to the end: the connection can be used again then
                content = self._piece(data, response)
                if content:
                    items += 1
                    yield content
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        if not finished:
            raise StreamTruncatedError(self.name, items=items)

    async def check(self) -> None:
        """Raise if `HEAD url` cannot be answered, or with a status that means trouble (401, 403, 429, 5xx)."""
        client = await self._client()
        response = await client.head(self._url, headers=self._headers)
        if response.status_code in (401, 403, 429) or response.status_code >= 500:
            raise EndpointReplyError(self.name, response.status_code, None, response)

    @property
    def _host(self) -> str | None:
        return host_of(self._url)

    def _make(self) -> Any:
        import httpx2

        return httpx2.AsyncClient(timeout=self._timeout)

    async def _close(self, client: Any) -> None:
        await client.aclose()

    async def _request(self, prompt: Prompt, params: dict[str, object]) -> tuple[Any, Any]:
        params = self._checked(params, hottest=2)
        messages = self._messages(prompt)
        asked: dict[str, object] = {"prompt": prompt} if isinstance(prompt, str) else {"messages": messages}
        if self.model is not None:
            asked["model"] = self.model
        timeout = params.pop("timeout", self._timeout)
        client = await self._client()
        try:
            request = client.build_request(
                "POST", self._url, json={**asked, **params}, headers=self._headers, timeout=timeout
            )
        except (TypeError, ValueError) as error:
            raise self._wrong(f"the parameters cannot be sent as JSON ({error})") from None
        return client, request

    def _body(self, response: Any) -> Any:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not response.is_success:
            raise EndpointReplyError(self.name, response.status_code, body, response)
        return body

    def _piece(self, data: str, response: Any) -> str:
        try:
            piece = json.loads(data)
        except ValueError:
            piece = None
        if not isinstance(piece, dict) or not isinstance(piece.get("content"), str):
            raise EndpointReplyError(self.name, response.status_code, piece)
        return str(piece["content"])
