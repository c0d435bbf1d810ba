"""Threads that call together what is counted: no call and no token is lost."""

from __future__ import annotations

import anyio

from resilient_ai import Endpoint, circuit_breaker, classified_retry, failover
from resilient_ai.providers import Reply
from resilient_ai.usage import Usage
from tests.helpers import interleaved

THREADS, CALLS = 4, 25
ANSWER = Reply("hello", usage=Usage(3, 2), model="gpt")


def test_threads_that_make_the_first_call_together_are_counted_exactly(registry):
    """The first call after counting has begun puts together what the function runs from then on."""

    @classified_retry(registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), registry=registry)
    @circuit_breaker(registry=registry)
    async def ask(endpoint, text):
        return ANSWER

    @circuit_breaker(registry=registry)
    async def alone(text):
        return ANSWER

    registry.usage.clear()
    failures = []

    def caller():
        async def calls():
            for _ in range(CALLS):
                await ask("x")
                await alone("x")

        try:
            anyio.run(calls)
        except Exception as error:
            failures.append(error)

    interleaved(*[caller] * THREADS, trace=["wrapper.py", "stack.py", "_circuit_breaker", "book.py"])
    sites = [registry.usage[name] for name in registry.usage]

    assert failures == []
    assert [(site.calls, site.usage) for site in sites] == [
        (THREADS * CALLS, Usage(3 * THREADS * CALLS, 2 * THREADS * CALLS))
    ] * 2
