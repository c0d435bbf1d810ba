"""Tenacity's own objects as settings."""

from __future__ import annotations

import pytest
import tenacity

from resilient_ai import AIServiceError, classified_retry
from tests.classified_retry.support import PLAIN, retrying
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_tenacitys_stop_wait_and_retry_are_accepted(registry, clock):
    down = scripted(KeyError("a"))
    ask = retrying(
        registry,
        down,
        stop=tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(100),
        wait=tenacity.wait_fixed(3),
        retry=tenacity.retry_if_exception_type(KeyError),
    )
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=r"4 attempts in 9\.0 s; its stop= says so"):
            await ask()

    assert clock.now() == 9


async def test_tenacitys_conditions_know_the_wait_that_would_come(registry, clock):
    ask = retrying(
        registry,
        scripted(ProviderError("timeout")),
        rules=PLAIN,
        wait=tenacity.wait_fixed(3),
        stop=tenacity.stop_before_delay(7),
    )
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="its stop= says so"):
            await ask()

    assert clock.now() == 6


async def test_tenacitys_retry_may_look_at_results(registry, clock):
    ask = retrying(registry, scripted(None, None, "pong"), retry=tenacity.retry_if_result(lambda text: text is None))
    async with clock.autojump():
        assert await ask() == "pong"

    with pytest.raises(AIServiceError, match="its retry= says no"):
        await classified_retry("never", retry=tenacity.retry_never, registry=registry)(
            scripted(ProviderError("timeout"))
        )()
