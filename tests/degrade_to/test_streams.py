"""Fallbacks of streams."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from resilient_ai import CallTimeoutError, Registry, degrade_to
from resilient_ai.events import Degraded, RungFailed
from tests.degrade_to.support import Shelf


def stream_of(registry, *rungs, items=(), error=None, **settings):
    @degrade_to(*rungs, name="stream", registry=registry, **settings)
    async def tokens(text: str = "Hi. Yo."):
        for item in items:
            yield item
        if error is not None:
            raise error

    return tokens


async def all_of(stream):
    return [item async for item in stream]


async def test_a_stream_that_fails_before_its_first_item_becomes_one_item_or_a_stream(registry):
    async def fallback(call):
        for word in ("from", "a", "rung"):
            yield word

    async def empty(call):
        return
        yield

    down = OSError("down")
    assert await all_of(stream_of(registry, "sorry", error=down)()) == ["sorry"]
    registry = Registry(listeners=())
    assert await all_of(stream_of(registry, empty, fallback, "sorry", error=down)()) == ["from", "a", "rung"]
    registry = Registry(listeners=())
    marked = stream_of(registry, fallback, mark="prefix", error=down)
    assert await all_of(marked()) == ["[RULE-BASED] from", "a", "rung"]
    assert registry.degradations["stream"].stats().by_rung == {"fallback": 1}


async def test_a_rung_may_give_what_an_async_for_takes(registry):
    class Reply:
        async def __aiter__(self):
            yield "a"
            yield "b"

    assert await all_of(stream_of(registry, lambda call: Reply(), error=OSError())()) == ["a", "b"]


async def test_a_stream_that_cannot_be_marked_is_not_given(registry, events):
    closed = []

    async def fallback(call):
        try:
            yield "text"
        finally:
            closed.append(True)

    tokens = stream_of(registry, fallback, mark=lambda recalled: 1 / 0, error=OSError("down"))
    with pytest.raises(OSError, match="down"):
        await all_of(tokens())

    assert closed == [True]
    assert events[0].doing == "mark"


async def test_after_the_first_item_an_error_is_the_consumers(registry):
    error = OSError("cut")
    seen = []
    with pytest.raises(OSError, match="cut") as caught:
        async for item in stream_of(registry, "sorry", items=["a", "b"], error=error)():
            seen.append(item)  # noqa: PERF401 - what came before the error counts

    assert seen == ["a", "b"]
    assert caught.value is error


async def test_a_rungs_stream_that_breaks_or_stalls_before_its_first_item_is_passed_over(registry, clock, events):
    closed = []

    async def broken(call):
        raise ValueError
        yield

    async def stalled(call):
        try:
            await anyio.sleep_forever()
            yield
        finally:
            closed.append(True)

    tokens = stream_of(registry, broken, stalled, "sorry", error=OSError(), rung_timeout=3)
    async with clock.autojump():
        assert await all_of(tokens()) == ["sorry"]

    assert clock.now() == 3
    assert closed == [True]
    assert [type(event) for event in events] == [RungFailed, RungFailed, Degraded]


async def test_an_iterator_that_breaks_at_its_first_item_is_closed(registry):
    class Connection:
        closed = False

        def __aiter__(self):
            return self

        async def __anext__(self):
            raise ValueError("handshake")

        async def aclose(self):
            self.closed = True

    connection = Connection()
    tokens = stream_of(registry, lambda call: connection, "sorry", error=OSError())

    assert await all_of(tokens()) == ["sorry"]
    assert connection.closed


async def test_a_rungs_stream_that_stalls_later_ends_in_an_error(registry, clock):
    async def stalling(call):
        yield "first"
        await anyio.sleep_forever()

    got = []
    async with clock.autojump():
        with pytest.raises(CallTimeoutError, match="'stalling' took longer than timeout_seconds=3"):
            async for item in stream_of(registry, stalling, error=OSError(), rung_timeout=3)():
                got.append(item)  # noqa: PERF401

    assert got == ["first"]


async def test_every_stream_is_closed_when_the_consumer_walks_away(registry):
    closed = []

    async def fallback(call):
        try:
            yield 1
            yield 2
        finally:
            closed.append("fallback")

    @degrade_to(fallback, mark=lambda recalled: recalled.answer, registry=registry)
    async def tokens(fail: bool):
        try:
            if fail:
                raise OSError
            yield 1
            yield 2
        finally:
            closed.append("stream")

    for fail in (False, True):
        async with aclosing(tokens(fail)) as stream:
            async for _ in stream:
                break

    assert closed == ["stream", "stream", "fallback"]
    assert registry.degradations[tokens.__qualname__].stats().degraded == 1


async def test_only_a_stream_that_was_read_to_its_end_is_remembered_as_one_text(registry):
    shelf = Shelf()
    whole = stream_of(registry, shelf, items=["a", "b", "c"])
    async with aclosing(whole()) as stream:
        async for _ in stream:
            break
    with pytest.raises(OSError):
        await all_of(stream_of(registry, shelf, items=["a", "b"], error=OSError())())
    await all_of(stream_of(registry, shelf, items=[1, 2])())
    await all_of(stream_of(registry, shelf, items=["x" * 600_000] * 2)())
    assert shelf.kept == []
    assert await all_of(whole()) == ["a", "b", "c"]

    assert shelf.kept == ["abc"]
    assert await all_of(stream_of(registry, shelf, error=OSError())()) == ["abc"]


async def test_a_stream_below_that_fell_back_is_not_remembered(registry):
    shelf = Shelf()

    @degrade_to(shelf, name="outer", registry=registry)
    @degrade_to("inner", name="inner", registry=registry)
    async def tokens():
        raise OSError
        yield

    assert await all_of(tokens()) == ["inner"]
    assert shelf.kept == []
