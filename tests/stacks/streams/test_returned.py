"""A coroutine that returns a stream is a stream to every policy, and its caller gets the SDK's own object."""

from __future__ import annotations

import gc

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    CallTimeoutError,
    CircuitState,
    Endpoint,
    ErrorType,
    RejectedResultError,
    RetryRule,
    adaptive_limit,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
    watch,
)
from tests.stacks.streams.support import TEXT, SdkStream, at_rest, read, returning

A, B = Endpoint("a"), Endpoint("b")
CUT = ConnectionResetError("cut")


def stack(registry, ask, *, retry=False, degrade=False, **breaker):
    """The policies of the recommended order around a function that takes an endpoint."""
    call = circuit_breaker("circuit", registry=registry, **breaker)(ask)
    call = adaptive_limit("limit", registry=registry)(call)
    call = failover(A, B, name="regions", strategy="priority", registry=registry)(call)
    if retry:
        call = classified_retry("retry", registry=registry)(call)
    return degrade_to("sorry", name="degrade", registry=registry)(call) if degrade else call


# -- what the caller gets


async def test_the_caller_gets_the_sdks_object_in_every_respect(registry):
    ask = returning(["a", "b"])
    stream = await stack(registry, ask)()

    assert isinstance(stream, SdkStream)
    assert stream.response is ask.returned[0].response
    assert (stream.endpoint, await read(stream), await read(stream)) == ("a", ["a", "b"], [])


async def test_it_can_be_entered_and_closed_as_the_sdks_own(registry):
    ask = returning(["a", "b"])
    async with await stack(registry, ask)() as entered:
        assert isinstance(entered, SdkStream)
        assert await anext(entered) == "a"
    closed = await stack(registry, ask)()
    await closed.close()

    assert [each.closed > 0 for each in ask.returned] == [True, True]
    assert not hasattr(closed, "aclose")
    assert await read(closed) == []
    assert at_rest(registry)


async def test_an_async_generator_object_is_one_too(registry):
    ended = []

    async def ask(endpoint):
        async def pieces():
            try:
                yield endpoint.name
                yield "more"
            finally:
                ended.append(endpoint.name)

        return pieces()

    call = stack(registry, ask)
    assert await read(await call()) == ["a", "more"]
    left = await call()
    assert await anext(left) == "a"
    await left.aclose()

    assert ended == ["a", "a"]
    assert at_rest(registry)


async def test_what_is_no_stream_stays_what_it_is(registry):
    answer = {"choices": []}

    async def ask(endpoint):
        return answer

    assert await stack(registry, ask)() is answer


# -- failures


@pytest.mark.parametrize("first", [CUT, [CUT], [TEXT | {"choices": []}, CUT]], ids=["call", "first item", "preamble"])
async def test_a_failure_up_to_the_commit_point_moves_on(registry, first):
    ask = returning(first, ["from b"])
    with watch() as seen:
        stream = await stack(registry, ask)()

    assert (stream.endpoint, seen.endpoint, seen.endpoints_tried) == ("b", "b", ("a", "b"))
    assert await read(stream) == ["from b"]
    assert registry.endpoints["a"].stats().failures == 1
    assert registry.circuit_breakers["circuit[a]"].stats().total_failures == 1
    assert at_rest(registry)


async def test_a_failure_after_it_is_the_consumers_and_the_endpoints(registry):
    stream = await stack(registry, returning(["a", CUT]), retry=True)()
    got = []
    with pytest.raises(ConnectionResetError, match="cut"):
        async for item in stream:
            got.append(item)  # noqa: PERF401 - the items before the error matter

    assert got == ["a"]
    assert registry.endpoints["a"].stats().failures == 1
    assert registry.circuit_breakers["circuit[a]"].stats().total_failures == 1
    assert registry.retries["retry"].stats().given_up == 1
    assert at_rest(registry)


async def test_a_retry_asks_for_the_stream_again(registry, clock):
    rules = {ErrorType.NETWORK_ERROR: RetryRule(2, 1, 1, jitter="none")}
    ask = classified_retry("retry", rules=rules, registry=registry)(returning([CUT], ["later"]))
    async with clock.autojump():
        assert await read(await ask()) == ["later"]

    assert registry.retries["retry"].stats().recovered == 1


async def test_it_counts_when_it_ends(registry):
    call = stack(registry, returning(["a", "b"]))
    stream = await call()
    assert registry.circuit_breakers["circuit[a]"].stats().total_calls == 0
    assert registry.endpoints["a"].stats().in_flight == 1
    await read(stream)

    assert registry.circuit_breakers["circuit[a]"].stats().total_calls == 1
    assert registry.endpoints["a"].stats().ok == 1
    assert at_rest(registry)


async def test_a_stream_below_a_limit_keeps_its_place_until_it_ends(registry):
    running, most = 0, 0

    async def ask():
        async def pieces():
            nonlocal running, most
            running, most = running + 1, max(most, running + 1)
            try:
                for piece in "abc":
                    await anyio.lowlevel.checkpoint()
                    yield piece
            finally:
                running -= 1

        return pieces()

    limited = adaptive_limit("two", initial=2, max_limit=2, registry=registry)(ask)

    async def one():
        assert await read(await limited()) == ["a", "b", "c"]

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(one)

    assert most == 2
    assert at_rest(registry)


@pytest.mark.parametrize("silent_from", [0, 1])
async def test_a_stream_that_falls_silent_is_given_up(registry, clock, silent_from):
    items = ["a"][:silent_from]
    call = circuit_breaker(
        "circuit", timeout_seconds=3, idle_timeout_seconds=2, failure_threshold=1, registry=registry
    )(returning([*items, anyio.sleep_forever]))

    async with clock.autojump():
        with pytest.raises(CallTimeoutError) as caught:
            await read(await call())

    assert caught.value.timeout_seconds == clock.now() == (2 if silent_from else 3)
    assert registry.circuit_breakers["circuit"].state is CircuitState.OPEN


async def test_a_preamble_is_a_sign_of_life(registry, clock):
    async def think():
        await clock.sleep(2)
        return {"type": "ping"}

    call = circuit_breaker("circuit", timeout_seconds=3, idle_timeout_seconds=3, registry=registry)(
        returning([think] * 5 + ["a"])
    )
    async with clock.autojump():
        assert (await read(await call()))[-1] == "a"

    assert clock.now() == 10


# -- leaving early


async def test_a_consumer_who_leaves_is_nobodys_failure(registry):
    ask = returning(["a", "b", "c"])
    stream = await stack(registry, ask)()
    async for _ in stream:
        break
    await stream.close()

    stats = registry.circuit_breakers["circuit[a]"].stats()
    assert (stats.total_failures, stats.ok) == (0, 0)
    assert ask.returned[0].closed
    assert at_rest(registry)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_stream_that_is_dropped_holds_nothing(registry, begun, recwarn):
    ask = returning(["a", "b", "c"])
    stream = await stack(registry, ask)()
    if begun:
        await anext(stream)
    del stream
    gc.collect()
    for _ in range(10):
        await anyio.lowlevel.checkpoint()

    assert at_rest(registry)
    assert ask.returned[0].closed


async def test_a_stream_may_be_read_by_another_task(registry):
    stream = await stack(registry, returning(["a", "b"]))()
    got = []

    async def reader():
        got.extend(await read(stream))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader)

    assert got == ["a", "b"]
    assert at_rest(registry)


async def test_a_cancelled_consumer_is_nobodys_failure(registry, clock):
    ask = returning(["a", anyio.sleep_forever])
    stream = await stack(registry, ask)()
    with anyio.move_on_after(0.01):
        await read(stream)

    assert registry.circuit_breakers["circuit[a]"].stats().total_failures == 0
    assert ask.returned[0].closed
    assert at_rest(registry)


# -- rejected items


def refuses(item):
    return ErrorType.INTERNAL_ERROR if item == "failed" else None


async def test_an_item_that_is_refused_before_the_commit_point_moves_on(registry):
    ask = returning([{"type": "response.created"}, "failed"], ["b"])
    call = failover(A, B, name="regions", strategy="priority", reject=refuses, registry=registry)(ask)

    assert await read(await call()) == ["b"]
    assert ask.returned[0].closed


@pytest.mark.parametrize("policy", [classified_retry, circuit_breaker])
async def test_an_item_that_is_refused_after_it_is_the_consumers_error(registry, policy):
    ask = returning(["a", "failed", "never"])
    call = policy("it", reject=refuses, registry=registry)(ask)
    got = []
    with pytest.raises(RejectedResultError):
        async for item in await call():
            got.append(item)  # noqa: PERF401

    assert got == ["a"]
    assert ask.returned[0].closed


# -- fallbacks


async def test_a_fallback_is_a_stream_where_the_function_has_returned_one_before(registry):
    call = degrade_to("sorry", name="it", registry=registry)(returning(["a"], CUT))
    assert await read(await call()) == ["a"]

    async with await call() as stream:
        assert await read(stream) == ["sorry"]


@pytest.mark.parametrize(("arguments", "wanted"), [({"stream": True}, True), ({"stream": False}, False), ({}, False)])
async def test_the_argument_stream_says_what_is_wanted(registry, arguments, wanted):
    async def create(*, prompt="", stream=False):
        raise CUT

    answer = await degrade_to("sorry", registry=registry)(create)(**arguments)

    assert (await read(answer) if wanted else answer) == (["sorry"] if wanted else "sorry")


async def test_a_rung_that_streams_gives_its_items(registry):
    async def rung(call):
        yield "from"
        yield "a rung"

    call = degrade_to(rung, stream=True, registry=registry)(returning(CUT))

    assert await read(await call()) == ["from", "a rung"]


async def test_an_error_after_the_commit_point_is_not_degraded(registry):
    stream = await stack(registry, returning(["a", CUT]), degrade=True)()
    with pytest.raises(ConnectionResetError):
        await read(stream)

    assert registry.degradations["degrade"].stats().degraded == 0
