"""
A client whose users never see an outage: retries for what passes, a circuit for what does not, a fallback text at last.

With OPENAI_API_KEY in the environment it asks OpenAI; without, a provider on this machine, which fails on purpose.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

import anyio

from resilient_ai import ErrorType, RetryRule, circuit_breaker, classified_retry, degrade_to, registry, watch
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider

OFFLINE = "OPENAI_API_KEY" not in os.environ


class SupportClient:
    """Answers customers; one circuit for all instances."""

    def __init__(self, endpoint: OpenAIEndpoint) -> None:
        self.endpoint = endpoint

    @degrade_to("Our assistant is taking a break. A colleague will answer by mail today.")
    @classified_retry(rules={ErrorType.MODEL_OVERLOADED: RetryRule(max_retries=2, base_delay=0.1, max_delay=1.0)})
    @circuit_breaker(failure_threshold=3, recovery_timeout=30)
    async def answer(self, question: str) -> str:
        return await self.endpoint.complete(question, system="You help customers of a bike shop.", max_tokens=80)


async def main() -> None:
    with FakeProvider("assistant") if OFFLINE else nullcontext() as provider:
        endpoint = (
            OpenAIEndpoint("offline", model="gpt-4o-mini", base_url=provider.base_url, api_key="none")
            if provider is not None
            else OpenAIEndpoint("openai", model="gpt-4o-mini")
        )
        async with endpoint:
            client = SupportClient(endpoint)
            if provider is not None:
                provider.script("overloaded")  # the first request fails, its retry does not
            print(await client.answer("Do you repair tyres?"))
            if provider is not None:
                provider.outage("overloaded")
            with watch() as seen:
                print(await client.answer("Do you sell helmets?"))
            print(f"degraded: {seen.degraded}, because of: {type(seen.error).__name__}")
    print(registry)


anyio.run(main)
