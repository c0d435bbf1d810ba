"""
All five decorators on one function, through an overload of the first provider and a quota that ran out at the second.

With OPENAI_API_KEY and ANTHROPIC_API_KEY in the environment it asks the real ones; without, providers on this machine.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

import anyio

from resilient_ai import batched, circuit_breaker, classified_retry, degrade_to, failover, first_sentences, registry
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint, ProviderEndpoint
from resilient_ai.similar import SimilarAnswers
from resilient_ai.testing import FakeProvider

OFFLINE = not {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"} <= os.environ.keys()


def endpoints(gpt: FakeProvider, claude: FakeProvider) -> tuple[OpenAIEndpoint, AnthropicEndpoint]:
    if OFFLINE:
        return (
            OpenAIEndpoint("gpt", model="gpt-4o-mini", base_url=gpt.base_url, api_key="none"),
            AnthropicEndpoint("claude", model="claude-haiku-4-5", base_url=claude.url, api_key="none"),
        )
    return OpenAIEndpoint("gpt", model="gpt-4o-mini"), AnthropicEndpoint("claude", model="claude-haiku-4-5")


async def main() -> None:
    with ExitStack() as servers:
        local = [servers.enter_context(FakeProvider(name, answer=lines)) for name in ("gpt", "claude")]
        gpt, claude = endpoints(*local)

        @degrade_to(SimilarAnswers(), first_sentences(1), mark="prefix")
        @batched(batch_size=4, batch_timeout=0.05)
        @classified_retry(max_attempts=2)
        @failover(gpt, claude, strategy="priority")
        @circuit_breaker(failure_threshold=3, recovery_timeout=30)
        async def translate(endpoint: ProviderEndpoint, texts: list[str]) -> list[str]:
            prompt = "Translate each line to French, one line each:\n" + "\n".join(texts)
            return (await endpoint.complete(prompt, max_tokens=200)).splitlines()

        async def ask(*texts: str) -> None:
            async def one(text: str) -> None:
                print("  ", await translate(text))

            async with anyio.create_task_group() as callers:
                for text in texts:
                    callers.start_soon(one, text)

        async with gpt, claude:
            print("all is well")
            await ask("The train is late.", "The shop is open.")
            print("gpt is overloaded")
            local[0].outage("overloaded")
            await ask("The bridge is closed.", "The ferry is full.")
            print("claude's credit has run out, too")
            local[1].outage("insufficient_quota")
            await ask("The train is late!", "The museum is free today. Children pay nothing.")
    print(registry)


def lines(prompt: str) -> str:
    """What the local providers answer: one line per line."""
    return "\n".join(f"« {line} »" for line in prompt.splitlines()[1:])


anyio.run(main)
