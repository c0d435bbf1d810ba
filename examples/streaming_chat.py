"""
A chat streams its answers through the loss of a region. Offline: both regions are fake providers on loopback.

    python examples/streaming_chat.py
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import structlog

from resilient_ai import StreamTruncatedError, circuit_breaker, classified_retry, degrade_to, failover, registry, watch
from resilient_ai.providers import OpenAIEndpoint, ProviderEndpoint
from resilient_ai.testing import FakeProvider, Fault

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the story is told below


async def main() -> None:
    with (
        FakeProvider("us-east", item_seconds=0.02) as us_server,
        FakeProvider("eu-west", item_seconds=0.02) as eu_server,
    ):
        us = OpenAIEndpoint("us-east", model="gpt-4o-mini", api_key="none", base_url=us_server.base_url)
        eu = OpenAIEndpoint("eu-west", model="gpt-4o-mini", api_key="none", base_url=eu_server.base_url)

        @degrade_to("The assistant is taking a break; your question is not lost.")
        @classified_retry
        @failover(us, eu, strategy="priority", health_check_interval=0.2)
        @circuit_breaker(timeout_seconds=5, idle_timeout_seconds=1)
        async def chat(endpoint: ProviderEndpoint, question: str) -> AsyncGenerator[str, None]:
            # async with: when the reader leaves, the provider hears of it at once and stops writing.
            async with endpoint.stream(question) as pieces:
                async for piece in pieces:
                    yield piece

        async def say(question: str) -> None:
            print(f"\n> {question}")
            with watch() as seen:
                try:
                    async with aclosing(chat(question)) as pieces:
                        async for piece in pieces:
                            print(piece, end="", flush=True)
                except StreamTruncatedError:
                    # What was shown cannot be taken back, so nobody asks again behind the reader's back.
                    print(" … (the line broke in the middle; ask again?)", end="")
            print(f"\n  asked: {', '.join(seen.endpoints_tried)}")

        async with us, eu:
            await say("who answers while all is well?")

            us_server.script(Fault.cut(after_items=3))
            await say("what if the line breaks in the middle of an answer?")

            us_server.outage(Fault.reset())
            await say("and when a whole region is lost?")
            await say("does everybody wait for it again?")
            print(f"\n{registry.failovers['main.<locals>.chat']!r}")

            us_server.recover()
            await anyio.sleep(1)  # a health check finds it well again, beside the calls
            await say("who answers when it is back?")

            us_server.outage("insufficient_quota")
            eu_server.outage("invalid_key")
            await say("and when everything is gone?")

        print(f"\n{registry!r}")


if __name__ == "__main__":
    anyio.run(main)
