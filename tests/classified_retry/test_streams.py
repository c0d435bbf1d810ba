"""Retries of streams."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from resilient_ai.events import RetriesExhausted
from tests.classified_retry.support import retrying, stats
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")


def streaming(*scripts):
    """An async generator function; each script is one stream's items, an exception among them is raised."""
    left = list(scripts)

    async def stream(*args, **kwargs):
        stream.calls += 1
        try:
            for item in left.pop(0) if len(left) > 1 else left[0]:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stream.closed += 1

    stream.calls = stream.closed = 0
    return stream


async def test_a_stream_is_retried_until_its_first_item(registry, clock):
    stream = streaming([ProviderError("timeout")], [ProviderError("network_error")], ["a", "b"])
    async with clock.autojump():
        assert [item async for item in retrying(registry, stream)()] == ["a", "b"]

    seen = stats(registry)
    assert (seen.calls, seen.attempts, seen.retries, seen.recovered) == (1, 3, 2, 1)
    assert stream.closed == 3


async def test_after_the_first_item_the_error_goes_to_the_consumer(registry, events):
    broken = ProviderError("network_error")
    stream = streaming(["a", broken])
    items = []
    with pytest.raises(ProviderError) as caught:
        async for item in retrying(registry, stream)():
            items.append(item)  # noqa: PERF401 - what came before the error must be kept
    seen = stats(registry)

    assert (items, caught.value) == (["a"], broken)
    assert (seen.calls, seen.given_up, seen.error_counts) == (1, 1, {"network_error": 1})
    assert [event.reason for event in events if isinstance(event, RetriesExhausted)] == ["the stream had begun"]


async def test_a_consumer_that_leaves_early_is_neutral_and_closes_the_stream(registry):
    stream = streaming(["a", "b"])
    async with aclosing(retrying(registry, stream)()) as items:
        async for _ in items:
            break

    assert stats(registry).calls == 0
    assert stream.closed == 1


async def test_what_the_consumer_throws_into_a_stream_is_not_retried(registry):
    stream = streaming(["a", "b"])
    items = retrying(registry, stream)()
    await anext(items)
    with pytest.raises(ProviderError):
        await items.athrow(ProviderError("timeout"))

    assert (stream.calls, stats(registry).error_counts) == (1, {})


async def test_an_empty_stream_is_a_success(registry):
    assert [item async for item in retrying(registry, streaming([]))()] == []

    assert stats(registry).calls == 1
