"""The endpoint for Google's Gemini, at its own API or Vertex."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from resilient_ai._core.backend import shielded
from resilient_ai._core.errors import MissingKeyError
from resilient_ai._core.public import public

from . import _google_form as form
from ._endpoint import SECONDS, Asked, ProviderEndpoint, Vector, check_text
from ._heard import Heard
from ._messages import system_text
from ._plain_client import LiftedClient

if TYPE_CHECKING:
    from google import genai

_MARK = "x-resilient-ai-reply"  # a header that is removed before the request is sent
_DECIDED = frozenset({"tools", "tool_config", "automatic_function_calling", "http_options"})


@public("providers")
class GoogleEndpoint(ProviderEndpoint):
    """
    An endpoint for Google's Gemini with google-genai, on asyncio and trio.

    Parameters are the fields of the SDK's `GenerateContentConfig`, such as `top_k` or `thinking_config`; `max_tokens`
    becomes `max_output_tokens`, `stop` becomes `stop_sequences`.

    Args:
        name: Unique among the endpoints of one failover.
        model: The model.
        api_key: API key. Default: GOOGLE_API_KEY or GEMINI_API_KEY in the environment.
        base_url: Address of a compatible API. Default: Google's own.
        region: A name for your own use, for example in strategies. Default: none.
        weight: Share of calls under `strategy="weighted"`. Default 1.
        client: Your own `google.genai.Client`, for example for Vertex; it is not closed. Set it to one attempt
            (`HttpRetryOptions(attempts=1)`); otherwise each attempt here is several there. Default: one is made.
        provider: Name of the provider. Default "google".
        context_window: Context window in tokens. Default: unknown.
        timeout: Seconds that a call may wait for the next bytes. Default 120.
        params: Default parameters of calls, such as `{"temperature": 0.2}`.

    Raises:
        ImportError: The SDK is missing: `pip install 'resilient-ai[google]'`.
        ValueError: A bad setting.

    Examples:
        >>> GoogleEndpoint("gemini", model="gemini-3-flash")
        GoogleEndpoint('gemini', model='gemini-3-flash')
    """

    _extra = "google"
    _module = "google.genai"
    _kind = "google"
    _embeds = True

    def __init__(
        self,
        name: str,
        *,
        model: str,
        api_key: str | None = None,
        base_url: str | None = None,
        region: str | None = None,
        weight: float = 1.0,
        client: genai.Client | None = None,
        provider: str = "google",
        context_window: int | None = None,
        timeout: float = SECONDS,
        params: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(
            name,
            provider=provider,
            region=region,
            weight=weight,
            context_window=context_window,
            timeout=timeout,
            params=params,
            client=_Clients(client) if client is not None else None,
            sync_client=_Clients(client) if client is not None else None,  # the client is both async and sync
        )
        check_text("model", model)
        self.model = self._model = model
        self._api_key = api_key
        self._keep_secret(api_key, address=base_url)
        self._url = base_url

    async def _embed(self, client: _Clients, texts: list[str], params: dict[str, Any], /) -> list[Vector]:
        from google.genai.types import EmbedContentConfig

        self._known(params, lambda: frozenset(EmbedContentConfig.model_fields) - _DECIDED, frozenset({"timeout"}))
        # As contents, because newer models take a list of texts as the parts of a single text.
        contents = [{"role": "user", "parts": [{"text": text}]} for text in texts]
        result = await client.sdk.aio.models.embed_content(
            model=self.model, contents=contents, config=self._http(params)
        )
        return [list(each.values or ()) for each in result.embeddings or ()]

    async def check(self) -> None:
        client = await self._client()
        await client.sdk.aio.models.get(model=self.model)

    def _make(self) -> Any:
        # By default the SDK uses aiohttp, which runs on asyncio only, and retries by itself.
        http = _http_client_class()(timeout=self._timeout)
        return _Clients(self._sdk({"httpx_async_client": http}), http)

    def _make_sync(self) -> Any:
        http = _sync_http_client_class()(timeout=self._timeout)
        return _Clients(self._sdk({"httpx_client": http}), http)

    def _lifted(self, client: Any) -> Any:
        return _Clients(_LiftedSDK(client.sdk), LiftedClient(client.http) if client.http is not None else None)

    def _sdk(self, http: dict[str, Any]) -> Any:
        from google import genai

        key = self._api_key or os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")
        if not key:
            raise MissingKeyError(self.name, variable="GEMINI_API_KEY")
        options: dict[str, Any] = {"timeout": int(self._timeout * 1000), "retry_options": {"attempts": 1}, **http}
        if self._url is not None:
            options["base_url"] = self._url
        return genai.Client(api_key=key, vertexai=False, http_options=options)  # type: ignore[arg-type]

    async def _close(self, client: _Clients) -> None:
        if isinstance(client.sdk, _LiftedSDK):
            await client.sdk.close()
            await client.http.close()
            return
        await client.sdk.aio.aclose()
        await client.http.aclose()
        client.sdk.close()

    @cached_property
    def _takes(self) -> frozenset[str]:
        from google.genai.types import GenerateContentConfig

        return frozenset(GenerateContentConfig.model_fields) - _DECIDED

    def _request(self, asked: Asked) -> dict[str, Any]:
        self._known(asked.params, lambda: self._takes)
        system, turns = system_text(asked.turns, asked.params.pop("system", None), self._wrong)
        config = {**self._http(asked.params), **form.tools(asked.tools, self._wrong)}
        if system:
            config["system_instruction"] = system
        if "max_tokens" in config:
            config["max_output_tokens"] = config.pop("max_tokens")
        if stop := config.pop("stop", None):
            config["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        if asked.form is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = form.plain_schema(asked.form.json)
        return {"model": self._model, "contents": form.contents(turns, self._model, self._wrong), "config": config}

    def _http(self, params: Mapping[str, object]) -> dict[str, Any]:
        config: dict[str, Any] = dict(params)
        timeout = config.pop("timeout", None)
        if timeout is not None:
            config["http_options"] = {"timeout": int(timeout * 1000)}
        return config

    async def _send(self, client: _Clients, request: dict[str, Any]) -> Any:
        return await client.sdk.aio.models.generate_content(**request)

    def _read(self, result: Any, heard: Heard) -> None:
        form.read(result, heard)

    async def _open(self, client: _Clients, request: dict[str, Any]) -> Any:
        return _events(client, request)

    def _hear(self, event: Any, heard: Heard) -> str:
        return form.take(event, heard)


@dataclass(frozen=True, slots=True)
class _Clients:
    """The SDK's client, and the HTTP client below it; None if that belongs to the user."""

    sdk: Any
    http: Any = None

    def close(self) -> None:
        """Close the client of plain code."""
        self.sdk.close()
        self.http.close()


class _LiftedSDK(LiftedClient):
    """The lifted client of plain code, with the interface of the SDK's async client in `aio`."""

    __slots__ = ()

    @property
    def aio(self) -> LiftedClient:
        return self


async def _events(client: _Clients, request: dict[str, Any]) -> AsyncGenerator[Any, None]:
    mark = uuid.uuid4().hex
    if client.http is not None:
        config = request["config"]
        options = {**config.get("http_options", {}), "headers": {_MARK: mark}}
        request = {**request, "config": {**config, "http_options": options}}
    stream = await client.sdk.aio.models.generate_content_stream(**request)
    try:
        async for event in stream:
            yield event
    finally:
        with shielded():
            await stream.aclose()
            if client.http is not None:
                await client.http.close_reply(mark)


def _httpx() -> Any:
    try:
        import httpx2 as httpx
    except ImportError:
        import httpx  # type: ignore[no-redef]
    return httpx


@cache
def _sync_http_client_class() -> type[Any]:
    """The same for plain code."""

    class HTTPClient(_httpx().Client):  # type: ignore[misc]  # one of two packages
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self._replies: dict[str, Any] = {}

        def send(self, request: Any, **settings: Any) -> Any:
            mark = request.headers.pop(_MARK, None)
            reply = super().send(request, **settings)
            if mark is not None:
                self._replies[mark] = reply
            return reply

        def close_reply(self, mark: str) -> None:
            reply = self._replies.pop(mark, None)
            if reply is not None:
                reply.close()

    return HTTPClient


@cache
def _http_client_class() -> type[Any]:
    """An HTTP client that can close the reply of one call; the SDK's streams leave that to the garbage collector."""

    class HTTPClient(_httpx().AsyncClient):  # type: ignore[misc]  # one of two packages
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self._replies: dict[str, Any] = {}

        async def send(self, request: Any, **settings: Any) -> Any:
            mark = request.headers.pop(_MARK, None)
            reply = await super().send(request, **settings)
            if mark is not None:
                self._replies[mark] = reply
            return reply

        async def close_reply(self, mark: str) -> None:
            reply = self._replies.pop(mark, None)
            if reply is not None:
                await reply.aclose()

    return HTTPClient
