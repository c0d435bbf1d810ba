"""
Two regions of one provider, one goes down in the middle of the work: no caller notices.

With OPENAI_API_KEY in the environment both names stand for OpenAI, and nothing goes down; without, for two providers on
this machine.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

import anyio

from resilient_ai import failover, registry
from resilient_ai.providers import OpenAIEndpoint, ProviderEndpoint
from resilient_ai.testing import FakeProvider

OFFLINE = "OPENAI_API_KEY" not in os.environ


def region(name: str, provider: FakeProvider) -> OpenAIEndpoint:
    if OFFLINE:
        return OpenAIEndpoint(name, model="gpt-4o-mini", base_url=provider.base_url, api_key="none", region=name)
    return OpenAIEndpoint(name, model="gpt-4o-mini", region=name)


async def main() -> None:
    with ExitStack() as stack:
        us_east, eu_west = (stack.enter_context(FakeProvider(name)) for name in ("us-east", "eu-west"))
        async with region("us-east", us_east) as us, region("eu-west", eu_west) as eu:

            @failover(us, eu, strategy="round_robin", health_check_interval=0.3)
            async def ask(endpoint: ProviderEndpoint, question: str) -> str:
                return await endpoint.complete(question, max_tokens=30)

            print("both up:          ", [await ask(f"question {number}") for number in range(4)])
            with us_east.outage("server_error"):
                print("us-east is down:  ", [await ask(f"question {number}") for number in range(4)])
                print(registry)
            await anyio.sleep(0.5)
            for _ in range(2):  # the first call after the rest lets us-east be looked at, beside the call
                await ask("are you back?")
                await anyio.sleep(0.1)
            print("us-east recovered:", [await ask(f"question {number}") for number in range(4)])


anyio.run(main)
