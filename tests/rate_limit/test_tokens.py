"""Tokens are estimated before a call and settled after it."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from resilient_ai import LimitReachedError, rate_limit
from resilient_ai.providers import Reply
from resilient_ai.usage import Usage, report_usage
from tests.helpers import scripted
from tests.rate_limit.support import Answer, used


def left(registry):
    return registry.rate_limits["q"].stats().tokens_left


def limited(registry, fn, cost=100, **settings):
    """With 1,000 tokens in its bucket, of 12,000 a minute."""
    return rate_limit("q", tokens_per_minute=12_000, cost=cost, registry=registry, **settings)(fn)


async def test_what_an_answer_took_less_than_estimated_comes_back(registry):
    ask = limited(registry, scripted(used(40)), cost=400)

    await ask()

    assert left(registry) == 960
    assert registry.rate_limits["q"].stats().tokens_used == 40


async def test_what_an_answer_took_more_than_estimated_is_taken_as_well(registry):
    ask = limited(registry, scripted(used(1500)))

    await ask()

    assert left(registry) == -500


async def test_an_answer_that_tells_no_usage_took_what_was_estimated(registry):
    ask = limited(registry, scripted("a text"))

    await ask()

    assert left(registry) == 900


async def test_a_reply_tells_its_usage(registry):
    ask = limited(registry, scripted(Reply("text", usage=Usage(input_tokens=30, output_tokens=20))))

    await ask()

    assert left(registry) == 950


async def test_estimates_learn_what_such_calls_take(registry, clock):
    ask = limited(registry, scripted(used(300)), cost=100)
    for _ in range(3):
        await ask()
        clock.advance(60)

    async def no_usage():
        return "text"

    unknown = limited(registry, no_usage, cost=100)
    asked = limited(registry, scripted(used(300), used(300), "no usage"), cost=100)
    await asked()
    clock.advance(60)
    await asked()
    clock.advance(60)
    await asked()
    after_three = left(registry)
    clock.advance(60)
    await unknown()

    assert after_three == 700  # 100 were estimated, 300 it was before
    assert left(registry) == 900  # another function learns for itself


async def test_what_was_learnt_makes_no_call_too_big_for_a_minute(registry, clock):
    ask = limited(registry, scripted(used(11_000)), cost=100)
    await ask()
    clock.advance(600)
    again = limited(registry, scripted(used(1_100), "text"), cost=10)
    await again()
    clock.advance(600)

    big = limited(registry, scripted(used(100_000), "text"), cost=11_000)
    await big()
    clock.advance(600)

    assert await big() == "text"


@pytest.mark.parametrize(
    ("arguments", "tokens"),
    [
        (("x y " * 100,), 200),
        (([{"role": "user", "content": "x y " * 100}, {"role": "user", "content": [{"text": "x y " * 100}]}],), 302),
        (("汉字" * 100,), 250),
        (("data:image/png;base64," + "A" * 100_000,), 1100),
        (('{"minified":[1,2,3]}' * 100,), 600),
        ((b"\0" * 100_000, 7, None, object()), 1100),
        ((["one two"] * 2000,), 3600),
    ],
    ids=["text", "messages", "Chinese", "an encoded image", "JSON", "bytes and other things", "a batch"],
)
async def test_without_a_cost_the_length_of_the_texts_tells(registry, arguments, tokens):
    async def ask(*_arguments):
        return "text"

    await rate_limit("q", tokens_per_minute=120_000, registry=registry)(ask)(*arguments)

    assert 10_000 - left(registry) == tokens


async def test_the_cost_is_told_by_the_arguments_and_the_instance(registry):
    class Client:
        price = 3

        @rate_limit("q", tokens_per_minute=12_000, cost=lambda self, n: self.price * n, registry=registry)
        async def ask(self, n):
            return "text"

    await Client().ask(100)

    assert left(registry) == 700


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "100", None, True])
async def test_a_cost_that_is_no_number_of_tokens_is_an_error(registry, wrong):
    ask = limited(registry, scripted("text"), cost=lambda: wrong)

    with pytest.raises(ValueError, match="cost= must return a number of tokens"):
        await ask()
    assert left(registry) == 1000


async def test_a_returned_stream_is_settled_by_the_usage_of_its_last_event(registry):
    async def ask():
        async def chunks():
            yield {"choices": [{"delta": {"content": "text"}}]}
            yield {"usage": {"prompt_tokens": 30, "completion_tokens": 20}, "choices": []}

        return chunks()

    stream = await limited(registry, ask)()
    before = left(registry)
    _ = [item async for item in stream]

    assert (before, left(registry)) == (900, 950)
    assert registry.rate_limits["q"].stats().ok == 1


async def test_a_stream_that_tells_its_usage_in_parts_took_all_of_them(registry):
    async def ask():
        yield {"type": "message_start", "message": {"usage": {"input_tokens": 30, "output_tokens": 1}}}
        yield {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "text"}}
        yield {"type": "message_delta", "usage": {"output_tokens": 20}}

    _ = [item async for item in limited(registry, ask)()]

    assert left(registry) == 950


async def test_a_stream_that_is_left_early_gives_nothing_back(registry):
    async def ask():
        yield {"type": "message_start", "message": {"usage": {"input_tokens": 30, "output_tokens": 1}}}
        yield {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "text"}}
        yield {"type": "message_delta", "usage": {"output_tokens": 20}}

    async with aclosing(limited(registry, ask)()) as stream:
        await anext(stream)
        await anext(stream)

    assert left(registry) == 900
    assert registry.rate_limits["q"].stats().neutral == 1


async def test_a_stream_that_breaks_has_taken_what_it_has_told_if_that_is_more(registry):
    async def ask():
        yield {"type": "message_start", "message": {"usage": {"input_tokens": 700, "output_tokens": 1}}}
        yield {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "text"}}
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        _ = [item async for item in limited(registry, ask)()]

    assert left(registry) == 299
    assert registry.rate_limits["q"].stats().failed == 1


async def test_requests_alone_count_no_tokens(registry):
    ask = rate_limit("q", requests_per_minute=60, cost=lambda: 1 / 0, registry=registry)(scripted(used(5)))

    await ask()

    assert left(registry) is None


async def test_a_call_needs_both_a_request_and_its_tokens(registry, clock):
    ask = rate_limit("q", requests_per_minute=60, tokens_per_minute=60_000, cost=10, max_wait=0, registry=registry)
    call = ask(scripted(Answer()))
    for _ in range(5):
        await call()

    with pytest.raises(LimitReachedError, match="60 requests and 60,000 tokens a minute"):
        await call()


async def test_what_is_reported_from_inside_the_function_counts_in_place_of_its_result(registry):
    @rate_limit("q", tokens_per_minute=12_000, cost=100, registry=registry)
    async def ask():
        report_usage(Usage(input_tokens=30))
        report_usage(Usage(output_tokens=20))
        return used(700)

    await ask()

    assert left(registry) == 950


async def test_the_registry_counts_each_answer_once_beside_a_quota(registry):
    _ = registry.usage  # from now on it counts
    ask = limited(registry, scripted(used(40)))

    await ask()
    usage = next(iter(registry.usage.values()))

    assert left(registry) == 960
    assert (usage.calls, usage.usage.input_tokens) == (1, 40)


async def test_an_answer_that_was_filtered_is_paid_for(registry):
    class FilteredError(Exception):
        reply = used(300)

    with pytest.raises(FilteredError):
        await limited(registry, scripted(FilteredError()))()

    assert left(registry) == 700


async def test_a_call_inside_another_of_one_quota_is_taken_out_once(registry):
    inner = limited(registry, scripted(used(300)))

    async def calls_another():
        return await inner()

    await limited(registry, calls_another)()

    assert left(registry) == 700
