"""What the provider says corrects the numbers: refusals, and headers that tell what is left."""

from __future__ import annotations

import pytest

from resilient_ai import (
    CircuitOpenError,
    ErrorType,
    LimitReachedError,
    circuit_breaker,
    rate_limit,
    register_classifier,
)
from resilient_ai.events import RateLimitLowered
from tests.helpers import ProviderError, scripted
from tests.rate_limit.support import Answer, TooFastError, at_once


def quota(registry):
    return registry.rate_limits["q"].stats()


def limited(registry, fn, **settings):
    """With 5 requests in its bucket, of 60 a minute."""
    return rate_limit("q", requests_per_minute=60, registry=registry, **settings)(fn)


async def test_after_a_refusal_nothing_is_sent_until_the_provider_allows_it(registry, clock, provider):
    provider.errors = [TooFastError(7)]
    ask = limited(registry, provider)
    with pytest.raises(TooFastError):
        await ask()

    await at_once(ask, range(2), clock)

    assert provider.times[1] >= 7
    assert provider.times[2] > provider.times[1]  # and not all at once then


async def test_a_refusal_lowers_the_numbers_which_grow_back(registry, clock, events):
    ask = limited(registry, scripted(TooFastError(2), "answer"))
    with pytest.raises(TooFastError):
        await ask()
    lowered = quota(registry).factor
    clock.advance(20)
    later = quota(registry).factor
    clock.advance(60)

    assert (lowered, quota(registry).paused_for) == (0.9, 0)
    assert 0.97 < later < 1
    assert quota(registry).factor == 1
    assert [each for each in events if isinstance(each, RateLimitLowered)] == [RateLimitLowered("q", 0.9, 2)]


async def test_who_would_be_served_only_after_the_pause_and_the_filling_is_turned_away_at_once(registry, clock):
    """Nothing is gained in a pause: 4 s of it, then 1.1 s for a request at 0.9 of the rate."""
    ask = limited(registry, scripted(TooFastError(4), "answer"), max_wait=5)
    with pytest.raises(TooFastError):
        await ask()
    async with clock.autojump():
        with pytest.raises(LimitReachedError) as caught:
            await ask()

    assert (clock.now(), caught.value.retry_after) == (0, pytest.approx(5.1, abs=0.05))


async def test_refusals_of_one_moment_are_one_piece_of_news(registry, clock, provider, events):
    provider.seconds = 1.0
    provider.errors = [TooFastError(1) for _ in range(4)]

    outcomes = await at_once(limited(registry, provider, max_wait=0), range(4), clock)

    assert {type(each) for each in outcomes} == {TooFastError, LimitReachedError}
    assert sum(isinstance(each, RateLimitLowered) for each in events) == 1


async def test_what_a_refused_call_took_stays_spent(registry):
    ask = limited(registry, scripted(TooFastError(0), "answer"))
    with pytest.raises(TooFastError):
        await ask()

    assert quota(registry).requests_left == 0


async def test_a_wait_longer_than_the_registry_allows_is_held_to_that(registry, clock):
    registry.max_server_wait = 30.0
    ask = limited(registry, scripted(TooFastError(9000), "answer"), max_wait=0)
    with pytest.raises(TooFastError):
        await ask()

    assert quota(registry).paused_for == 30


async def test_what_a_circuit_below_refuses_gives_back_its_request(registry):
    below = circuit_breaker("c", registry=registry)(scripted("answer"))
    registry.circuit_breakers["c"].trip()
    ask = limited(registry, below)

    with pytest.raises(CircuitOpenError):
        await ask()

    assert (quota(registry).requests_left, quota(registry).calls) == (5, 0)


class ConnectError(Exception):
    """As httpx calls it: no connection, nothing was sent."""


async def test_what_found_no_connection_gives_back_its_request(registry):
    with pytest.raises(ConnectError):
        await limited(registry, scripted(ConnectError()))()

    assert quota(registry).requests_left == 5


@pytest.mark.parametrize("error_type", ["internal_error", "timeout", "invalid_request", "model_overloaded"])
async def test_what_the_provider_has_seen_stays_spent(registry, provider_errors, error_type):
    ask = limited(registry, scripted(ProviderError(ErrorType(error_type))))

    with pytest.raises(ProviderError):
        await ask()

    assert (quota(registry).requests_left, quota(registry).failed, quota(registry).factor) == (4, 1, 1)


HEADERS = [
    {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "1"},  # OpenAI, Groq
    {"x-ratelimit-remaining-requests": "1"},  # Azure
    {"anthropic-ratelimit-requests-limit": "60", "anthropic-ratelimit-requests-remaining": "1"},
    {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "1"},  # Together
    {"x-ratelimit-limit-requests-day": "14400", "x-ratelimit-remaining-requests-day": "1"},  # Cerebras
]


@pytest.mark.parametrize("headers", HEADERS, ids=["OpenAI", "Azure", "Anthropic", "Together", "of a day"])
async def test_requests_that_a_provider_says_are_left_are_all_that_is_sent(registry, headers):
    await limited(registry, scripted(Answer(headers=headers)))()

    assert quota(registry).requests_left == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit-tokens": "6000", "x-ratelimit-remaining-tokens": "70"},
        {"anthropic-ratelimit-tokens-remaining": "9000", "anthropic-ratelimit-output-tokens-remaining": "70"},
        {"x-ratelimit-remaining-tokens-minute": "70", "x-ratelimit-remaining-tokens-day": "999999"},
        {"x-tokenlimit-limit": "6000", "x-tokenlimit-remaining": "70"},
    ],
    ids=["OpenAI", "Anthropic", "Mistral", "Together"],
)
async def test_tokens_that_a_provider_says_are_left_are_all_that_is_sent(registry, headers):
    ask = rate_limit("q", tokens_per_minute=6_000, cost=10, registry=registry)(scripted(Answer(headers=headers)))

    await ask()

    assert quota(registry).tokens_left == 70


async def test_headers_of_an_error_count_too(registry, clock):
    ask = limited(registry, scripted(TooFastError(None, {"X-RateLimit-Remaining-Requests": "0"}), "answer"))
    with pytest.raises(TooFastError):
        await ask()

    assert quota(registry).requests_left == 0


async def test_headers_of_the_response_of_a_stream_count_too(registry):
    class Stream:
        response = Answer(headers={"x-ratelimit-remaining-requests": "2"})

        async def __aiter__(self):
            yield "text"

        async def __anext__(self):
            raise StopAsyncIteration

    async def ask():
        return Stream()

    await limited(registry, ask)()

    assert quota(registry).requests_left == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-remaining-requests": "many"},
        {"x-ratelimit-remaining-requests": "-1"},
        {"x-ratelimit-remaining-requests": "nan"},
        {"x-ratelimit-limit-requests": "60"},
        {"x-ratelimit-remaining-images": "0"},
        {"remaining": "0"},
    ],
)
async def test_headers_that_say_nothing_change_nothing(registry, headers):
    await limited(registry, scripted(Answer(headers=headers)))()

    assert quota(registry).requests_left == 4


async def test_more_left_than_the_numbers_allow_changes_nothing(registry):
    await limited(registry, scripted(Answer(headers={"x-ratelimit-remaining-requests": "5000"})))()

    assert quota(registry).requests_left == 4


async def test_little_left_slows_down_until_there_is_news(registry, clock):
    low = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "0"}
    ask = rate_limit("q", requests_per_minute=600, registry=registry)(scripted(Answer(headers=low)))
    await ask()
    clock.advance(0.1)
    at_first = quota(registry).requests_left
    clock.advance(2.0)  # as long as two seconds' worth takes to come

    assert at_first == 0
    assert 5 < quota(registry).requests_left < 21


async def test_ctrl_c_in_a_classifier_leaves_no_call_uncounted(registry):
    def interrupted(error):
        raise KeyboardInterrupt

    forget = register_classifier(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            await limited(registry, scripted(OSError()))()
    finally:
        forget()

    assert quota(registry).neutral == 1
