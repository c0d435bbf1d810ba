"""What streams used, told by their items or from inside, and counted when they end."""

from __future__ import annotations

import gc
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import Endpoint, ErrorType, RejectedResultError, circuit_breaker, failover, watch
from resilient_ai.usage import Usage, report_usage
from tests.usage.support import ANSWER, count, told

US = Endpoint("us")


def parts(*items):
    async def stream(*_args):
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    return stream


BEGIN = {"type": "message_start", "message": {"model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}}}
TEXT = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}}
END = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 30}}


@pytest.fixture(params=["yields", "returns"])
def opened(request, registry):
    """Opens a stream of these items, through a stack."""

    def make(*items):
        async def returns(endpoint):
            return parts(*items)()

        function = returns if request.param == "returns" else parts(*items)
        function.__qualname__ = "tell"
        call = circuit_breaker(registry=registry)(function)
        call = failover(US, strategy="priority", registry=registry)(call)

        async def open_stream():
            return await call() if request.param == "returns" else call()

        return open_stream

    return make


async def read(stream):
    return [item async for item in stream]


async def test_a_stream_is_counted_when_it_ends_by_the_last_word_of_each_number(registry, opened):
    count(registry)
    stream = await opened(BEGIN, TEXT, TEXT, END)()
    await anext(stream)
    assert len(registry.usage["tell"]) == 0
    await read(stream)

    assert told(registry, "tell") == [("us", "claude", 1, 9, 30, 0)]


async def test_a_stream_that_tells_nothing_is_one_without_usage(registry, opened):
    count(registry)
    await read(await opened("a", "b")())

    assert told(registry, "tell") == [("us", None, 1, 0, 0, 1)]


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("how", ["close", "drop", "break"])
async def test_of_a_stream_that_was_not_read_to_its_end_the_rest_is_unknown(registry, opened, how):
    count(registry)
    stream = await opened(BEGIN, TEXT, ConnectionResetError() if how == "break" else TEXT, END)()
    if how == "break":
        with pytest.raises(ConnectionResetError):
            await read(stream)
    else:
        await anext(stream)
        if how == "close":
            await stream.aclose()
        del stream
        gc.collect()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()

    assert told(registry, "tell") == [("us", "claude", 1, 9, 1, 1)]


async def test_what_a_generator_tells_at_its_end_counts(registry):
    count(registry)

    @failover(US, registry=registry)
    async def tell(endpoint):
        yield "a"
        yield "b"
        report_usage(Usage(5, 2), "mine")

    with watch() as seen:
        async with aclosing(tell()) as pieces:
            await read(pieces)

    assert seen.usage == Usage(5, 2)
    assert told(registry, next(iter(registry.usage))) == [("us", "mine", 1, 5, 2, 0)]


async def test_the_items_of_a_rejected_stream_were_paid_for(registry):
    count(registry)
    refused = {**TEXT, "delta": {"type": "text_delta", "text": "no"}}
    reject = lambda item: ErrorType.INTERNAL_ERROR if item is refused else None  # noqa: E731
    call = circuit_breaker(reject=reject, registry=registry)(parts(BEGIN, TEXT, refused))
    with pytest.raises(RejectedResultError):
        await read(call())

    assert registry.usage[next(iter(registry.usage))].usage == Usage(9, 1)


async def test_what_is_told_before_a_stream_is_returned_counts_in_place_of_what_its_items_say(registry):
    count(registry)

    async def pieces():
        yield ANSWER

    @circuit_breaker(registry=registry)
    async def ask():
        report_usage(Usage(1, 1), "mine")
        return pieces()

    await read(await ask())

    assert told(registry, next(iter(registry.usage))) == [(None, "mine", 1, 1, 1, 0)]
