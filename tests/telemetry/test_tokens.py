"""Tokens and money as metrics, where somebody counts them."""

from __future__ import annotations

import pytest

from resilient_ai import Endpoint, circuit_breaker, failover
from resilient_ai.providers import Reply
from resilient_ai.usage import Usage
from tests.helpers import scripted

prometheus_client = pytest.importorskip("prometheus_client")

ANSWER = Reply("hello", usage=Usage(10, 4, cache_read_tokens=3, cache_write_tokens=2, reasoning_tokens=1), model="gpt")


@pytest.fixture
def samples(registry):
    """What a scrape shows of a family, by labels."""
    from resilient_ai.telemetry import collector

    exported = prometheus_client.CollectorRegistry()
    exported.register(collector(registry))

    def read(family):
        found = {}
        for metric in exported.collect():
            if metric.name == f"resilient_ai_{family}":
                for sample in metric.samples:
                    if sample.name.endswith("_total"):
                        found[tuple(sample.labels.values())] = sample.value
        return found

    return read


@pytest.fixture
def ask(registry):
    return failover(Endpoint("us"), name="f", registry=registry)(
        circuit_breaker("ask", registry=registry)(scripted(ANSWER))
    )


async def test_a_scrape_shows_tokens_by_kind_and_what_they_cost(registry, ask, samples):
    registry.price = lambda model, usage: 0.5
    await ask()
    await ask()
    found = {labels[1:]: number for labels, number in samples("tokens").items()}

    assert found == {
        ("us", "gpt", "input"): 20,
        ("us", "gpt", "output"): 8,
        ("us", "gpt", "cache_read"): 6,
        ("us", "gpt", "cache_write"): 4,
        ("us", "gpt", "reasoning"): 2,
    }
    assert list(samples("cost").values()) == [1.0]


async def test_sums_never_fall_over_a_reset(registry, ask, samples):
    registry.price = lambda model, usage: 0.5
    await ask()
    registry.reset()
    assert len(registry.usage) == 0
    await ask()
    registry.reset()
    registry.reset()

    assert sum(samples("tokens").values()) == 40
    assert sum(samples("cost").values()) == 1.0


async def test_a_scrape_does_not_begin_to_count(registry, ask, samples):
    await ask()

    assert samples("tokens") == {}
    assert registry.meters is None
