"""OpenAI, and everybody who speaks its language."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.errors import MissingKeyError, StreamTruncatedError
from resilient_ai._core.public import public

from ._endpoint import SECONDS, EndpointReplyError, Prompt, ProviderEndpoint, check_text, host_of, parameters_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import openai


@public("providers")
class OpenAIEndpoint(ProviderEndpoint):
    """
    OpenAI's chat completions, and every API that is compatible with them.

    Args:
        name: Unique among the endpoints of one failover.
        model: Model, or deployment.
        api_key: Default: the environment's OPENAI_API_KEY.
        base_url: Of a compatible API, such as `http://localhost:11434/v1`. Default: OpenAI's own.
        region: For people, and for strategies of your own.
        weight: Share of calls under `strategy="weighted"`. Default 1.
        client: An `openai.AsyncOpenAI` or `AsyncAzureOpenAI` of your own, used with its retries off and left open.
        provider: Default "openai" at OpenAI and Azure, else the host of `base_url`.
        context_window: Tokens. Default: unknown.
        timeout: Seconds that a call may wait for the next bytes. Default 120.

    Raises:
        ImportError: The SDK is missing: `pip install 'resilient-ai[openai]'`.
        ValueError: A bad setting.

    Examples:
        >>> OpenAIEndpoint("eu", model="gpt-4o-mini", base_url="https://eu.api.openai.com/v1", region="eu-west")
        OpenAIEndpoint('eu', model='gpt-4o-mini', host='eu.api.openai.com', region='eu-west')
    """

    _extra = _module = "openai"

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
        provider: str | None = None,
        context_window: int | None = None,
        timeout: float = SECONDS,
    ) -> None:
        url = str(client.base_url) if client is not None else base_url
        self._base_url = url
        host = host_of(url)
        self._original = host is None or host.endswith((".openai.com", ".azure.com"))
        super().__init__(
            name,
            provider=provider if provider is not None else "openai" if self._original or host is None else host,
            region=region,
            weight=weight,
            context_window=context_window,
            timeout=timeout,
            client=client.with_options(max_retries=0) if client is not None else None,
        )
        check_text("model", model)
        self.model = model
        self._api_key = api_key

    async def complete(self, prompt: Prompt, **params: object) -> str:
        reply = await self._create(prompt, params)
        choices = getattr(reply, "choices", None)
        if not choices:
            body = getattr(reply, "error", None)
            raise EndpointReplyError(self.name, 200, {"error": body} if body else None)
        message = choices[0].message
        return message.content or message.refusal or ""

    async def stream(self, prompt: Prompt, **params: object) -> AsyncGenerator[str, None]:
        stream = await self._create(prompt, params, stream=True)
        items, finished = 0, False
        try:
            async for chunk in stream:
                for choice in chunk.choices[:1]:
                    # [DONE] is swallowed by the SDK, and left out by some servers; a reason to finish is what tells.
                    finished = finished or choice.finish_reason is not None
                    if choice.delta.content:
                        items += 1
                        yield choice.delta.content
        finally:
            with anyio.CancelScope(shield=True):
                await stream.close()
        if not finished:
            raise StreamTruncatedError(self.name, items=items)

    async def check(self) -> None:
        client = await self._client()
        # Compatible servers list their models, but not all can be asked for one.
        await (client.models.retrieve(self.model) if self.provider == "openai" else client.models.list())

    @property
    def _host(self) -> str | None:
        return host_of(self._base_url)

    def _make(self) -> Any:
        import openai

        if self._api_key is None and not os.environ.get("OPENAI_API_KEY"):
            raise MissingKeyError(self.name, variable="OPENAI_API_KEY")
        return openai.AsyncOpenAI(api_key=self._api_key, base_url=self._base_url, max_retries=0, timeout=self._timeout)

    async def _close(self, client: Any) -> None:
        await client.close()

    @cached_property
    def _takes(self) -> frozenset[str]:
        from openai.resources.chat import AsyncCompletions

        return parameters_of(AsyncCompletions.create) | {"system"}

    async def _create(self, prompt: Prompt, params: dict[str, object], **more: object) -> Any:
        params = self._checked(params, hottest=2)
        messages = self._messages(prompt)
        client = await self._client()
        self._known(params, self._takes)
        if system := params.pop("system", None):
            messages.insert(0, {"role": "system", "content": system})
        if self._original and "max_tokens" in params:
            params["max_completion_tokens"] = params.pop("max_tokens")  # the new name, which newer models insist on
        return await client.chat.completions.create(model=self.model, messages=messages, **params, **more)
