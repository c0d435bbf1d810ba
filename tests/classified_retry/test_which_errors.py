"""Which errors are tried again, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resilient_ai import AIServiceError, ErrorType, RetryRule, classified_retry, register_classifier
from resilient_ai._classification.verdict import verdict
from tests.classified_retry.support import retrying, stats
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


@pytest.mark.parametrize(
    ("error_type", "attempts"),
    [
        ("rate_limit", 6),
        ("model_overloaded", 5),
        ("network_error", 4),
        ("timeout", 3),
        ("internal_error", 3),
        ("quota_exceeded", 1),
        ("authentication", 1),
        ("permission", 1),
        ("invalid_request", 1),
        ("context_length", 1),
        ("content_filter", 1),
        ("not_found", 1),
    ],
)
async def test_each_type_has_its_own_number_of_retries(registry, clock, error_type, attempts):
    down = scripted(ProviderError(error_type))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=rf"failed with {error_type} \(ProviderError\)") as caught:
            await retrying(registry, down)()

    assert down.calls == caught.value.attempts == attempts
    assert caught.value.error_type is ErrorType(error_type)
    assert isinstance(caught.value.__cause__, ProviderError)
    assert caught.value.original_error is caught.value.__cause__


async def test_a_retry_that_succeeds_gives_the_answer(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit"), ProviderError("timeout"), "pong"))
    async with clock.autojump():
        assert await ask() == "pong"

    seen = stats(registry)
    assert (seen.calls, seen.attempts, seen.retries, seen.recovered, seen.given_up) == (1, 3, 2, 1, 0)
    assert seen.error_counts == {"rate_limit": 1, "timeout": 1}


async def test_each_type_counts_its_own_retries_and_max_attempts_caps_all(registry, clock):
    mixed = [ProviderError("timeout"), ProviderError("network_error")] * 5
    ask = retrying(registry, scripted(*mixed), max_attempts=5)
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=r"after 5 attempts .*; max_attempts=5 reached"):
            await ask()

    ask = classified_retry("by-type", registry=registry)(scripted(*mixed))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=r"after 5 attempts .*; 2 retries for timeout used up"):
            await ask()


async def test_an_error_that_nothing_recognises_is_raised_as_it_is(registry):
    bug = KeyError("prompt")
    down = scripted(bug)
    with pytest.raises(KeyError) as caught:
        await retrying(registry, down)()

    assert caught.value is bug
    assert down.calls == 1
    assert stats(registry).given_up == 1


async def test_rules_change_single_rows(registry, clock):
    rules = {ErrorType.RATE_LIMIT: None, ErrorType.NOT_FOUND: RetryRule(1, 0, 0)}
    for error_type, attempts in (("rate_limit", 1), ("not_found", 2), ("timeout", 3)):
        down = scripted(ProviderError(error_type))
        ask = classified_retry(error_type, rules=rules, registry=registry)(down)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await ask()

        assert down.calls == attempts


async def test_only_the_types_of_on_are_retried(registry, clock):
    for error_type, attempts in (("rate_limit", 1), ("timeout", 3)):
        down = scripted(ProviderError(error_type))
        ask = classified_retry(error_type, on={ErrorType.TIMEOUT}, registry=registry)(down)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await ask()

        assert down.calls == attempts


async def test_a_verdict_of_the_users_own_is_taken_at_its_word(registry, clock):
    class OddError(Exception):
        verdict = replace(verdict(ErrorType.INTERNAL_ERROR), blame="unknown")

    unregister = register_classifier(lambda error: getattr(error, "verdict", None))
    try:
        down = scripted(OddError())
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await retrying(registry, down)()
    finally:
        unregister()

    assert down.calls == 3
