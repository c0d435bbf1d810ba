"""What the caller gets when a retry gives up."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress

import pytest

from resilient_ai import AIServiceError
from tests.classified_retry.support import PLAIN, retrying
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_reraise_gives_the_original_with_a_note(registry, clock):
    error = ProviderError("timeout")
    async with clock.autojump():
        with pytest.raises(ProviderError) as caught:
            await retrying(registry, scripted(error), rules=PLAIN, max_attempts=2, reraise=True)()

    assert caught.value is error
    assert error.__notes__ == ["resilient_ai: 2 attempts in 1.0 s; max_attempts=2 reached"]


@pytest.mark.parametrize("reraise", [True, False])
async def test_a_failed_call_leaves_nothing_for_the_garbage_collector(registry, clock, reraise):
    class Request:
        """Something of the caller's that must not be kept alive."""

    async def down(request):
        raise ProviderError("invalid_request")

    ask = retrying(registry, down, reraise=reraise)
    gc.collect()
    gc.disable()
    try:
        request = Request()
        gone = weakref.ref(request)
        with suppress(AIServiceError, ProviderError):
            await ask(request)
        del request

        assert gone() is None
    finally:
        gc.enable()


async def test_a_success_leaves_nothing_behind(registry):
    ask = retrying(registry, scripted("pong"))
    for _ in range(50):
        await ask()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1_000):
        await ask()

    assert len(gc.get_objects()) - before < 20
