"""
An FAQ bot that keeps answering while its provider is gone, and says where each answer came from.

    python examples/faq_bot.py

Everything runs on this machine: `FakeProvider` is a real HTTP server on loopback. The answers are kept in a file, so
that a second run of the bot, started in the middle of the outage, knows them too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

from resilient_ai import Registry, circuit_breaker, classified_retry, degrade_to, failover, watch
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.similar import SimilarAnswers
from resilient_ai.testing import FakeProvider

KNOWN = {
    "How can I reset my password?": "Settings, Security, Reset password.",
    "When will my order arrive?": "Two to four working days after we send it.",
    "How do I turn on dark mode?": "Settings, Display, Dark.",
    "What does the 20 GB plan cost per month?": "9 dollars a month.",
}
LATER = "We cannot answer right now; please ask again in a few minutes."


def answer(prompt: str) -> str:
    return KNOWN.get(prompt, "Please write to us.")


def bot(memory: SimilarAnswers, *endpoints: OpenAIEndpoint, registry: Registry):
    """The bot: one function, and what keeps it answering."""

    @degrade_to(memory, LATER, registry=registry)
    @classified_retry(max_attempts=2, registry=registry)
    @failover(*endpoints, registry=registry)
    @circuit_breaker(failure_threshold=2, recovery_timeout=30, registry=registry)
    async def ask(endpoint: OpenAIEndpoint, question: str, *, tenant: str) -> str:
        return await endpoint.complete(question, system=f"You answer the customers of {tenant}.")

    return ask


async def show(ask, question: str, tenant: str = "acme") -> None:
    with watch() as seen:
        said = await ask(question, tenant=tenant)
    if not seen.degraded:
        source = f"the provider, {seen.endpoint}"
    elif seen.similarity is None:
        source = "the last resort"
    else:
        source = f"memory, {seen.similarity:.2f} similar"
    print(f"  {tenant}: {question}\n    -> {said}   [{source}]")


async def main() -> None:
    registry = Registry(listeners=())  # no log lines in between
    east, west = (FakeProvider(name, answer=answer) for name in ("east", "west"))
    with tempfile.TemporaryDirectory() as folder, east, west:
        endpoints = [
            OpenAIEndpoint(each.name, model="fake", api_key="none", base_url=each.base_url) for each in (east, west)
        ]
        with SimilarAnswers(Path(folder) / "answers.db", embedder="trigrams") as memory:
            ask = bot(memory, *endpoints, registry=registry)
            print("All is well.")
            for question in KNOWN:
                await show(ask, question)

        print("\nBoth regions are gone, and the bot was restarted.")
        east.outage("overloaded")
        west.outage("overloaded")
        with SimilarAnswers(Path(folder) / "answers.db", embedder="trigrams") as memory:
            ask = bot(memory, *endpoints, registry=registry)
            await show(ask, "how do I reset the password")
            await show(ask, "When will my order arrive?")
            await show(ask, "When is my order going to arrive?")
            print("\nWhat looks alike and is not, and what belongs to others, is not answered from memory.")
            await show(ask, "How do I turn off dark mode?")
            await show(ask, "What does the 50 GB plan cost per month?")
            await show(ask, "How can I reset my password?", tenant="globex")
            print(f"\n{memory.stats()}\n{registry!r}")
        for endpoint in endpoints:
            await endpoint.aclose()


if __name__ == "__main__":
    anyio.run(main)
