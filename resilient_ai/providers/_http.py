"""The endpoint for a custom HTTP API."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from resilient_ai._core.backend import shielded
from resilient_ai._core.plain_streams import LiftedStream
from resilient_ai._core.public import public
from resilient_ai._core.secret_holders import secret_headers
from resilient_ai._usage.readers import usage_of

from ._endpoint import SECONDS, Asked, ProviderEndpoint, host_of
from ._errors import EndpointReplyError
from ._heard import Heard
from ._messages import Turn

if TYPE_CHECKING:
    import httpx2


@public("providers")
class HTTPEndpoint(ProviderEndpoint):
    """
    An endpoint for your own API: JSON `{"prompt": …}` in, `{"content": …}` out.

    Messages are sent as `{"messages": […]}`, parameters as further keys, tools in OpenAI's form as `"tools"`, and a
    JSON schema as `"schema"`. Besides the content, `finish_reason`, `tool_calls` in OpenAI's form, `refusal`, `usage`
    and `model` are read if present. A stream is requested with `"stream": true` and read as server-sent events, each
    with `{"content": …}` or some of the other keys, the last one `[DONE]`.

    Args:
        name: Unique among the endpoints of one failover.
        url: Address for POST requests.
        headers: Headers of each request, such as API keys. Default: none.
        model: Sent as `"model"`. Default: not sent.
        region: A name for your own use, for example in strategies. Default: none.
        weight: Share of calls under `strategy="weighted"`. Default 1.
        client: Your own `httpx2.AsyncClient`, which is not closed. Default: one is made for each event loop.
        sync_client: Your own `httpx2.Client`, for plain functions. Default: one is made.
        provider: Name of the provider. Default: the host of `url`.
        context_window: Context window in tokens. Default: unknown.
        timeout: Seconds that a call may wait for the next bytes. Default 120.
        params: Default parameters of calls.

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
        sync_client: httpx2.Client | None = None,
        provider: str | None = None,
        context_window: int | None = None,
        timeout: float = SECONDS,
        params: Mapping[str, object] | None = None,
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
            params=params,
            client=client,
            sync_client=sync_client,
        )
        self.model = model
        self._url = url
        self._headers = dict(headers or {})
        sent = (self._headers, *(each.headers for each in (client, sync_client) if each is not None))
        keys = [value for headers in sent for value in secret_headers(headers, unknown=False)]
        self._keep_secret(*keys, address=url, headers=self._headers)

    async def check(self) -> None:
        """Raise if `HEAD url` is not answered, or with a status that is a problem (401, 403, 429, 5xx)."""
        client = await self._client()
        response = await client.head(self._url, headers=self._headers)
        if response.status_code in (401, 403, 429) or response.status_code >= 500:
            raise EndpointReplyError(self.name, response.status_code, None, response)

    def _make(self) -> Any:
        import httpx2

        return httpx2.AsyncClient(timeout=self._timeout)

    def _make_sync(self) -> Any:
        import httpx2

        return httpx2.Client(timeout=self._timeout)

    def _lifted(self, client: Any) -> Any:
        return _LiftedHTTP(client)

    async def _close(self, client: Any) -> None:
        await client.aclose()

    def _request(self, asked: Asked) -> dict[str, Any]:
        params = asked.params
        body: dict[str, Any] = {"prompt": asked.text}
        if asked.text is None:
            body = {"messages": [_bare(each) for each in asked.turns]}
        if self.model is not None:
            body["model"] = self.model
        timeout = params.pop("timeout", self._timeout)
        body.update(params)
        body.update(asked.tools.for_chat())
        if asked.form is not None:
            body["schema"] = asked.form.json
        try:
            json.dumps(body)
        except (TypeError, ValueError) as error:
            raise self._wrong(f"the parameters cannot be sent as JSON ({error})") from None
        return {"url": self._url, "json": body, "headers": self._headers, "timeout": timeout}

    async def _send(self, client: Any, request: dict[str, Any]) -> Any:
        return await client.post(**request)

    def _read(self, result: Any, heard: Heard) -> None:
        body = self._body(result)
        if not isinstance(body, dict) or not (isinstance(body.get("content"), str) or body.keys() & _INSTEAD):
            raise EndpointReplyError(self.name, result.status_code, body, result)
        heard.texts.append(_take(body, heard))

    async def _open(self, client: Any, request: dict[str, Any]) -> Any:
        request = {**request, "json": {**request["json"], "stream": True}}
        response = await client.send(client.build_request("POST", **request), stream=True)
        return self._lines(response)

    async def _lines(self, response: Any) -> AsyncGenerator[str, None]:
        """Iterate over the data of server-sent events."""
        try:
            if not response.is_success:
                await response.aread()
                self._body(response)
            async for line in response.aiter_lines():
                if line.startswith("data:"):  # read on after [DONE], so that the connection can be reused
                    yield line.removeprefix("data:").strip()
        finally:
            with shielded():
                await response.aclose()

    def _hear(self, event: Any, heard: Heard) -> str:
        if event == "[DONE]":
            heard.ended = True
            return ""
        try:
            piece = json.loads(event)
        except ValueError:
            piece = None
        if not isinstance(piece, dict) or not (isinstance(piece.get("content"), str) or piece.keys() & _FACTS):
            raise EndpointReplyError(self.name, 200, piece)
        return _take(piece, heard)

    def _body(self, response: Any) -> Any:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not response.is_success:
            raise EndpointReplyError(self.name, response.status_code, body, response)
        return body


class _LiftedHTTP:
    """The HTTP client of plain code with the interface of the async one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.build_request = client.build_request

    async def post(self, **request: Any) -> Any:
        return self._client.post(**request)

    async def head(self, url: str, **request: Any) -> Any:
        return self._client.head(url, **request)

    async def send(self, request: Any, *, stream: bool) -> Any:
        return _LiftedResponse(self._client.send(request, stream=stream))

    async def aclose(self) -> None:
        self._client.close()


class _LiftedResponse:
    def __init__(self, response: Any) -> None:
        self._response = response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    async def aread(self) -> Any:
        return self._response.read()

    def aiter_lines(self) -> LiftedStream:
        return LiftedStream(self._response.iter_lines())

    async def aclose(self) -> None:
        self._response.close()


_INSTEAD = {"tool_calls", "refusal"}
_FACTS = {*_INSTEAD, "finish_reason", "usage", "model"}


def _bare(turn: Turn) -> dict[str, Any]:
    return {key: value for key, value in turn.own.items() if key != "extra_content"}


def _take(body: dict[str, Any], heard: Heard) -> str:
    """Read a reply, or a piece of one; returns its text."""
    heard.usage = usage_of(body) or heard.usage
    heard.model = body.get("model") or heard.model
    if body.get("refusal"):
        heard.refusals.append(str(body["refusal"]))
    for each in body.get("tool_calls") or ():
        function = each.get("function") or {}
        call = heard.call(len(heard.calls))
        call.id, call.name = str(each.get("id") or ""), str(function.get("name") or "")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            call.arguments = arguments
        else:
            call.text = str(arguments or "")
    heard.ends(body.get("finish_reason"), body.get("error"))
    return str(body.get("content") or "")
