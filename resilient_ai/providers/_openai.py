"""The endpoint for OpenAI and compatible APIs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from resilient_ai._core.errors import MissingKeyError
from resilient_ai._core.public import public
from resilient_ai._usage.readers import usage_of
from resilient_ai._usage.runs import report_usage

from ._endpoint import SECONDS, Asked, ProviderEndpoint, Vector, check_text, host_of, parameters_of
from ._heard import Heard
from ._openai_chat import ChatAPI
from ._openai_responses import ResponsesAPI

if TYPE_CHECKING:
    import openai


@public("providers")
class OpenAIEndpoint(ProviderEndpoint):
    """
    An endpoint for OpenAI's chat completions or Responses, and for every compatible API.

    Args:
        name: Unique among the endpoints of one failover.
        model: The model, or the deployment.
        api_key: API key. Default: OPENAI_API_KEY in the environment.
        base_url: Address of a compatible API, such as `http://localhost:11434/v1`. Default: OpenAI's own.
        region: A name for your own use, for example in strategies. Default: none.
        weight: Share of calls under `strategy="weighted"`. Default 1.
        client: Your own `openai.AsyncOpenAI` or `AsyncAzureOpenAI`; used with its retries off, and not closed. Default:
            one is made for each event loop.
        sync_client: Your own `openai.OpenAI` or `AzureOpenAI`, for plain functions. Default: one is made.
        provider: Name of the provider. Default "openai" for OpenAI and Azure, else the host of `base_url`.
        context_window: Context window in tokens. Default: unknown.
        timeout: Seconds that a call may wait for the next bytes. Default 120.
        params: Default parameters of calls, such as `{"temperature": 0.2}`.
        api: "chat" for chat completions, which every compatible server supports, or "responses", which has no `stop`.
            Default "chat".

    Raises:
        ImportError: The SDK is missing: `pip install 'resilient-ai[openai]'`.
        ValueError: A bad setting.

    Examples:
        >>> OpenAIEndpoint("eu", model="gpt-4o-mini", base_url="https://eu.api.openai.com/v1", region="eu-west")
        OpenAIEndpoint('eu', model='gpt-4o-mini', host='eu.api.openai.com', region='eu-west')
    """

    _extra = _module = "openai"
    _kind = "openai"
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
        client: openai.AsyncOpenAI | None = None,
        sync_client: openai.OpenAI | None = None,
        provider: str | None = None,
        context_window: int | None = None,
        timeout: float = SECONDS,
        params: Mapping[str, object] | None = None,
        api: Literal["chat", "responses"] = "chat",
    ) -> None:
        given = client if client is not None else sync_client
        url = str(given.base_url) if given is not None else base_url
        self._url = url
        host = host_of(url)
        original = host is None or host.endswith((".openai.com", ".azure.com"))
        super().__init__(
            name,
            provider=provider if provider is not None else "openai" if original or host is None else host,
            region=region,
            weight=weight,
            context_window=context_window,
            timeout=timeout,
            params=params,
            client=client.with_options(max_retries=0) if client is not None else None,
            sync_client=sync_client.with_options(max_retries=0) if sync_client is not None else None,
        )
        check_text("model", model)
        if api not in ("chat", "responses"):
            raise ValueError(f'api of endpoint {name!r} must be "chat" or "responses", got {api!r}')
        self.model = model
        self._api_key = api_key
        self._keep_secret(api_key, address=base_url)
        self._api = ChatAPI(self, original=original) if api == "chat" else ResponsesAPI(self)

    async def _embed(self, client: Any, texts: list[str], params: dict[str, Any], /) -> list[Vector]:
        self._known(params, lambda: self._takes_to_embed, frozenset({"timeout"}))
        result = await client.embeddings.create(model=self.model, input=texts, **params)
        if (usage := usage_of(result)) is not None:
            report_usage(usage, getattr(result, "model", None) or self.model)
        return [each.embedding for each in sorted(getattr(result, "data", None) or (), key=lambda each: each.index)]

    async def check(self) -> None:
        client = await self._client()
        # Compatible servers list their models, but not all support the request for a single one.
        await (client.models.retrieve(self.model) if self.provider == "openai" else client.models.list())

    def _make(self) -> Any:
        import openai

        return openai.AsyncOpenAI(**self._settings())

    def _make_sync(self) -> Any:
        import openai

        return openai.OpenAI(**self._settings())

    def _settings(self) -> dict[str, Any]:
        if self._api_key is None and not os.environ.get("OPENAI_API_KEY"):
            raise MissingKeyError(self.name, variable="OPENAI_API_KEY")
        return {"api_key": self._api_key, "base_url": self._url, "max_retries": 0, "timeout": self._timeout}

    async def _close(self, client: Any) -> None:
        await client.close()

    @cached_property
    def _takes_to_embed(self) -> frozenset[str]:
        from openai.resources.embeddings import AsyncEmbeddings

        return parameters_of(AsyncEmbeddings.create)

    def _request(self, asked: Asked) -> dict[str, Any]:
        self._known(asked.params, lambda: self._api.takes, self._api.shared)
        return self._api.request(asked)

    async def _send(self, client: Any, request: dict[str, Any]) -> Any:
        return await self._api.send(client, request)

    def _read(self, result: Any, heard: Heard) -> None:
        self._api.read(result, heard)

    async def _open(self, client: Any, request: dict[str, Any]) -> Any:
        return await self._api.open(client, request)

    def _hear(self, event: Any, heard: Heard) -> str:
        return self._api.hear(event, heard)
