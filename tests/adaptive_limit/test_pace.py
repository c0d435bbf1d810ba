"""Calls per minute, when the provider names a rate."""

from __future__ import annotations

import itertools

import pytest

from resilient_ai import adaptive_limit
from tests.adaptive_limit.support import TooFastError, at_once, fail


async def test_after_a_rate_limit_nothing_is_sent_before_the_providers_wait_is_over(registry, clock, provider):
    ask = adaptive_limit("wait", registry=registry)(provider)
    provider.errors = [TooFastError(7.0)]
    await fail(ask, TooFastError)
    await at_once(ask, 3, clock)

    assert provider.calls[1][1] >= 7.0


async def test_after_a_rate_limit_calls_go_out_slower_than_they_were_accepted(registry, clock, provider):
    ask = adaptive_limit("paced", registry=registry)(provider)
    provider.seconds = 0.0
    for _ in range(100):  # 10 a second for 10 seconds
        await ask()
        clock.advance(0.1)
    provider.errors = [TooFastError()]
    await fail(ask, TooFastError)
    rate = registry.limits["paced"].stats().rate
    await at_once(ask, 20, clock)
    times = [when for _, when in provider.calls[101:]]

    assert rate == pytest.approx(7.0, rel=0.02)
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.1 - 1e-9
    assert 20 / 10 <= times[-1] - times[0] <= 20 / 7


async def test_the_pace_is_given_up_when_nothing_is_refused_for_a_while(registry, clock, provider):
    ask = adaptive_limit("free", registry=registry)(provider)
    provider.errors = [TooFastError()]
    await fail(ask, TooFastError)
    assert registry.limits["free"].stats().rate is not None
    clock.advance(15.0)

    assert registry.limits["free"].stats().rate is None


async def test_without_pace_a_rate_limit_shrinks_the_limit(registry, provider):
    ask = adaptive_limit("unpaced", initial=20, pace=False, registry=registry)(provider)
    provider.errors = [TooFastError(7.0)]
    await fail(ask, TooFastError)
    stats = registry.limits["unpaced"].stats()

    assert (stats.limit, stats.rate) == (10, None)
