"""The endpoint for Anthropic, at its own API, Bedrock or Vertex."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resilient_ai._core.checks import check_number
from resilient_ai._core.errors import MissingKeyError
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.public import public

from . import _anthropic_form as form
from ._endpoint import SECONDS, Asked, ProviderEndpoint, check_text, parameters_of
from ._heard import Heard
from ._messages import system_text

if TYPE_CHECKING:
    import anthropic
    from anthropic.lib.bedrock import AnthropicBedrock, AsyncAnthropicBedrock
    from anthropic.lib.vertex import AnthropicVertex, AsyncAnthropicVertex

MOST_TOKENS = 1024


@public("providers")
class AnthropicEndpoint(ProviderEndpoint):
    """
    An endpoint for Anthropic's messages API.

    System messages become the system text; images, tool calls and their results become blocks; `stop` becomes
    `stop_sequences`.

    Args:
        name: Unique among the endpoints of one failover.
        model: The model.
        api_key: API key. Default: ANTHROPIC_API_KEY in the environment.
        base_url: Address of a compatible API. Default: Anthropic's own.
        region: A name for your own use, for example in strategies. Default: none.
        weight: Share of calls under `strategy="weighted"`. Default 1.
        client: Your own `anthropic.AsyncAnthropic`, or `AsyncAnthropicBedrock` or `AsyncAnthropicVertex`; used with its
            retries off, and not closed. Default: one is made for each event loop.
        sync_client: Your own `anthropic.Anthropic`, `AnthropicBedrock` or `AnthropicVertex`, for plain functions.
            Default: one is made.
        provider: Name of the provider. Default "anthropic".
        context_window: Context window in tokens. Default: unknown.
        max_tokens: Most tokens of an answer, for calls without their own; this API requires it. Default 1024.
        timeout: Seconds that a call may wait for the next bytes. Default 120.
        params: Default parameters of calls, such as `{"temperature": 0.2}`.

    Raises:
        ImportError: The SDK is missing: `pip install 'resilient-ai[anthropic]'`.
        ValueError: A bad setting.
    """

    _extra = _module = "anthropic"
    _kind = "anthropic"
    _hottest = 1

    def __init__(
        self,
        name: str,
        *,
        model: str,
        api_key: str | None = None,
        base_url: str | None = None,
        region: str | None = None,
        weight: float = 1.0,
        client: anthropic.AsyncAnthropic | AsyncAnthropicBedrock | AsyncAnthropicVertex | None = None,
        sync_client: anthropic.Anthropic | AnthropicBedrock | AnthropicVertex | None = None,
        provider: str = "anthropic",
        context_window: int | None = None,
        max_tokens: int = MOST_TOKENS,
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
            client=client.with_options(max_retries=0) if client is not None else None,
            sync_client=sync_client.with_options(max_retries=0) if sync_client is not None else None,
        )
        check_number("max_tokens", max_tokens, least=1, whole=True)
        check_text("model", model)
        self.model = model
        self.max_tokens = max_tokens
        self._api_key = api_key
        self._keep_secret(api_key, address=base_url)
        given = client if client is not None else sync_client
        self._url = str(given.base_url) if given is not None else base_url

    async def check(self) -> None:
        client = await self._client()
        models = getattr(client, "models", None)
        if models is None:
            raise NotImplementedError(f"{kind_of(client)} cannot be asked for its models")
        await models.retrieve(self.model)

    def _make(self) -> Any:
        import anthropic

        return anthropic.AsyncAnthropic(**self._settings())

    def _make_sync(self) -> Any:
        import anthropic

        return anthropic.Anthropic(**self._settings())

    def _settings(self) -> dict[str, Any]:
        environment = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
        if self._api_key is None and not any(map(os.environ.get, environment)):
            raise MissingKeyError(self.name, variable="ANTHROPIC_API_KEY")
        return {"api_key": self._api_key, "base_url": self._url, "max_retries": 0, "timeout": self._timeout}

    async def _close(self, client: Any) -> None:
        await client.close()

    @cached_property
    def _accepts(self) -> frozenset[str]:
        from anthropic.resources.messages import AsyncMessages

        return parameters_of(AsyncMessages.create)

    def _request(self, asked: Asked) -> dict[str, Any]:
        params = asked.params
        self._known(params, lambda: self._accepts)
        system, turns = system_text(asked.turns, params.get("system"), self._wrong)
        request: dict[str, Any] = {"max_tokens": self.max_tokens, **params}
        if system:
            request["system"] = system
        if stop := request.pop("stop", None):
            request["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        request.update(form.tools(asked.tools))
        if asked.form is not None:
            request["output_config"] = {**_mapping(params.get("output_config")), "format": form.output(asked.form)}
        # Each version of the SDK lacks arguments for some of these, but the API accepts them.
        unnamed = {"temperature", "top_p", "output_config"} & request.keys()
        if unnamed and self._module in sys.modules and (unnamed := unnamed - self._accepts):
            body = {key: request.pop(key) for key in sorted(unnamed)}
            request["extra_body"] = {**body, **_mapping(params.get("extra_body"))}
        return {"model": self.model, "messages": form.messages(turns, self._wrong), **request}

    async def _send(self, client: Any, request: dict[str, Any]) -> Any:
        return await client.messages.create(**request)

    async def _open(self, client: Any, request: dict[str, Any]) -> Any:
        return await client.messages.create(**request, stream=True)

    def _read(self, result: Any, heard: Heard) -> None:
        form.read(result, heard)

    def _hear(self, event: Any, heard: Heard) -> str:
        return form.hear(event, heard)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
