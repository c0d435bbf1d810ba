"""Results that are failures."""

from __future__ import annotations

import pytest

from resilient_ai import AIServiceError, ErrorType, RejectedResultError
from tests.classified_retry.support import retrying, stats
from tests.helpers import scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_a_rejected_result_is_retried_as_the_error_it_stands_for(registry, clock):
    ask = retrying(registry, scripted("", "", "pong"), reject=lambda text: None if text else ErrorType.INTERNAL_ERROR)
    async with clock.autojump():
        assert await ask() == "pong"

    assert stats(registry).error_counts == {"internal_error": 2}


@pytest.mark.parametrize("answer", [True, "timeout"])
async def test_a_reject_that_names_no_error_type_is_told_so_after_one_call(registry, answer):
    send = scripted("my secret answer")
    ask = retrying(registry, send, reject=lambda text: answer)
    with pytest.raises(TypeError, match=rf"must return an ErrorType or None, got a {type(answer).__name__}$") as caught:
        await ask()

    assert send.calls == 1
    assert "secret" not in str(caught.value)


async def test_a_result_that_stays_rejected_surfaces_as_that(registry):
    ask = retrying(registry, scripted("I cannot"), reject=lambda text: ErrorType.CONTENT_FILTER)
    with pytest.raises(AIServiceError) as caught:
        await ask()

    assert isinstance(caught.value.__cause__, RejectedResultError)
    assert caught.value.__cause__.result == "I cannot"
    assert "I cannot" not in str(caught.value)
