"""
Twenty callers with one text each, two requests to the provider.

With OPENAI_API_KEY in the environment it asks OpenAI; without, a provider on this machine.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

import anyio

from resilient_ai import batched, classified_retry, registry
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider

OFFLINE = "OPENAI_API_KEY" not in os.environ
TEXTS = [f"Sales rose in region {number}. Costs fell by {number} %." for number in range(1, 21)]


async def main() -> None:
    with FakeProvider("summary", answer=first_halves) if OFFLINE else nullcontext() as provider:
        endpoint = (
            OpenAIEndpoint("offline", model="gpt-4o-mini", base_url=provider.base_url, api_key="none")
            if provider is not None
            else OpenAIEndpoint("openai", model="gpt-4o-mini")
        )

        @batched("summaries", batch_size=10, batch_timeout=0.1)
        @classified_retry
        async def summarize(texts: list[str]) -> list[str]:
            prompt = f"Summarize each of the {len(texts)} lines in five words, one line each:\n" + "\n".join(texts)
            return (await endpoint.complete(prompt, max_tokens=300)).splitlines()

        async def caller(text: str) -> None:
            summaries.append(await summarize(text))

        summaries: list[str] = []
        async with endpoint, anyio.create_task_group() as callers:
            for text in TEXTS:
                callers.start_soon(caller, text)
    print(*summaries[:3], "...", sep="\n")
    stats = registry.batches["summaries"].stats()
    print(f"{len(summaries)} summaries in {stats.total_batches} batches of {stats.avg_batch_size:g}")


def first_halves(prompt: str) -> str:
    """What the local provider answers."""
    return "\n".join(line.partition(".")[0] for line in prompt.splitlines()[1:])


anyio.run(main)
