"""Anthropic."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio

from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import MissingKeyError, StreamTruncatedError
from resilient_ai._core.public import public

from ._endpoint import SECONDS, EndpointReplyError, Prompt, ProviderEndpoint, check_text, host_of, parameters_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import anthropic

MOST_TOKENS = 1024


@public("providers")
class AnthropicEndpoint(ProviderEndpoint):
    """
    Anthropic's messages.

    System messages among the messages become the system text; `stop` becomes `stop_sequences`.

    Args:
        name: Unique among the endpoints of one failover.
        model: Model.
        api_key: Default: the environment's ANTHROPIC_API_KEY.
        base_url: Of a compatible API. Default: Anthropic's own.
        region: For people, and for strategies of your own.
        weight: Share of calls under `strategy="weighted"`. Default 1.
        client: An `anthropic.AsyncAnthropic` of your own, used with its retries off and left open.
        provider: Default "anthropic".
        context_window: Tokens. Default: unknown.
        max_tokens: Of answers, when a call does not say; this API must be told. Default 1024.
        timeout: Seconds that a call may wait for the next bytes. Default 120.

    Raises:
        ImportError: The SDK is missing: `pip install 'resilient-ai[anthropic]'`.
        ValueError: A bad setting.
    """

    _extra = _module = "anthropic"

    def __init__(
        self,
        name: str,
        *,
        model: str,
        api_key: str | None = None,
        base_url: str | None = None,
        region: str | None = None,
        weight: float = 1.0,
        client: anthropic.AsyncAnthropic | None = None,
        provider: str = "anthropic",
        context_window: int | None = None,
        max_tokens: int = MOST_TOKENS,
        timeout: float = SECONDS,
    ) -> None:
        super().__init__(
            name,
            provider=provider,
            region=region,
            weight=weight,
            context_window=context_window,
            timeout=timeout,
            client=client.with_options(max_retries=0) if client is not None else None,
        )
        check_number("max_tokens", max_tokens, least=1, whole=True)
        check_text("model", model)
        self.model = model
        self.max_tokens = max_tokens
        self._api_key = api_key
        self._base_url = str(client.base_url) if client is not None else base_url

    async def complete(self, prompt: Prompt, **params: object) -> str:
        reply = await self._create(prompt, params)
        if not isinstance(getattr(reply, "content", None), list):
            raise EndpointReplyError(self.name, 200)
        return "".join(block.text for block in reply.content if block.type == "text")

    async def stream(self, prompt: Prompt, **params: object) -> AsyncGenerator[str, None]:
        stream = await self._create(prompt, params, stream=True)
        items, finished = 0, False
        try:
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta" and event.delta.text:
                    items += 1
                    yield event.delta.text
                finished = finished or event.type == "message_stop"
        finally:
            with anyio.CancelScope(shield=True):
                await stream.close()
        if not finished:
            raise StreamTruncatedError(self.name, items=items)

    async def check(self) -> None:
        client = await self._client()
        await client.models.retrieve(self.model)

    @property
    def _host(self) -> str | None:
        return host_of(self._base_url)

    def _make(self) -> Any:
        import anthropic

        environment = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
        if self._api_key is None and not any(map(os.environ.get, environment)):
            raise MissingKeyError(self.name, variable="ANTHROPIC_API_KEY")
        return anthropic.AsyncAnthropic(
            api_key=self._api_key, base_url=self._base_url, max_retries=0, timeout=self._timeout
        )

    async def _close(self, client: Any) -> None:
        await client.close()

    @cached_property
    def _accepts(self) -> frozenset[str]:
        from anthropic.resources.messages import AsyncMessages

        return parameters_of(AsyncMessages.create)

    async def _create(self, prompt: Prompt, params: dict[str, object], **more: object) -> Any:
        params = self._checked(params, hottest=1)
        messages = self._messages(prompt)
        client = await self._client()
        self._known(params, self._accepts | {"stop", "temperature", "top_p"})
        system = [each.get("content") for each in messages if each["role"] in ("system", "developer")]
        messages = [each for each in messages if each["role"] not in ("system", "developer")]
        system = [text for text in (params.get("system"), *system) if text]
        if not all(isinstance(text, str) for text in system):
            raise self._wrong("a system message must be a text")
        if not messages:
            raise self._wrong("there is no message but system messages")
        if system:
            params["system"] = "\n\n".join(map(str, system))
        if stop := params.pop("stop", None):
            params["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        # Newer SDKs have no argument for these; models that still take them get them all the same.
        unnamed = ({"temperature", "top_p"} & params.keys()) - self._accepts
        if unnamed:
            body = {key: params.pop(key) for key in sorted(unnamed)}
            params["extra_body"] = {**body, **_mapping(params.get("extra_body"))}
        params.setdefault("max_tokens", self.max_tokens)
        return await client.messages.create(model=self.model, messages=messages, **params, **more)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
