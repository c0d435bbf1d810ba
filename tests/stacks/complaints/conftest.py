"""Fixtures that several files of this folder need."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import classified_retry, failover
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint, ProviderEndpoint
from tests.stacks.complaints.support import EU, US


@pytest.fixture
async def openai(us):
    async with OpenAIEndpoint("us", model="gpt-4o-mini", api_key="sk-none", base_url=us.base_url) as endpoint:
        yield endpoint


@pytest.fixture
async def claude(eu):
    async with AnthropicEndpoint("eu", model="claude-haiku-4-5", api_key="sk-none", base_url=eu.url) as endpoint:
        yield endpoint


@pytest.fixture
def ask(openai, claude, registry):
    @failover(openai, claude, name="regions", strategy="priority", registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str, **params: object) -> str:
        return await endpoint.complete(prompt, **params)

    return ask


@pytest.fixture
def scripted(registry):
    """`scripted(us=error, eu="answer")`: a failover over endpoints that raise or answer, and who was asked."""

    def make(*, retry: bool = False, endpoints=(US, EU), **settings):
        outcomes = {key: settings.pop(key) for key in list(settings) if key in {each.name for each in endpoints}}
        asked: list[str] = []

        async def fn(endpoint) -> str:
            asked.append(endpoint.name)
            await anyio.lowlevel.checkpoint()
            outcome = outcomes[endpoint.name]
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        call = failover(*endpoints, **{"strategy": "priority", "registry": registry, **settings})(fn)
        return (classified_retry(registry=registry)(call) if retry else call), asked, outcomes

    return make
