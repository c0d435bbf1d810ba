"""A stream runs in one task and one context from its first item to its last, whatever is put on it."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its own timeout
from contextlib import AsyncExitStack, aclosing, nullcontext
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import Endpoint, Registry, circuit_breaker, degrade_to, failover
from resilient_ai.testing import VirtualClock
from tests.stacks.streams.support import read

NAME: ContextVar[str] = ContextVar("name", default="of the caller")
A, B = Endpoint("a"), Endpoint("b")


@pytest.fixture(params=["real time", "virtual time"])
def registry(request):
    return Registry(clock=None if request.param == "real time" else VirtualClock(), listeners=())


def timed(registry, stream):
    return circuit_breaker("circuit", registry=registry)(stream)


def hedged(registry, stream):
    async def of_endpoint(_endpoint):
        async with aclosing(stream()) as items:
            async for item in items:
                yield item

    return failover(A, B, name="regions", hedge_after=5, registry=registry)(of_endpoint)


def returned(registry, stream):
    async def ask():
        return stream()

    call = circuit_breaker("circuit", registry=registry)(ask)

    async def opened():
        async with aclosing(await call()) as items:
            async for item in items:
                yield item

    return opened


def fallen_back(registry, stream):
    async def fails():
        raise ConnectionError
        yield

    return degrade_to(lambda call: stream(), registry=registry)(fails)


@pytest.fixture(params=[timed, hedged, returned, fallen_back])
def put_on(request):
    return request.param


@pytest.mark.parametrize("holds", ["a deadline", "a task group", "a shield"])
async def test_a_scope_may_be_held_across_the_yields(registry, put_on, holds):
    async def stream():
        async with AsyncExitStack() as stack:
            if holds == "a task group":
                await stack.enter_async_context(anyio.create_task_group())
            else:
                stack.enter_context(anyio.fail_after(5) if holds == "a deadline" else anyio.CancelScope(shield=True))
            await anyio.lowlevel.checkpoint()
            yield 1
            await anyio.lowlevel.checkpoint()
            yield 2

    assert await read(put_on(registry, stream)()) == [1, 2]
    await anyio.lowlevel.checkpoint()  # the caller's own task is as it was


async def test_a_deadline_of_the_stream_rings(registry, put_on):
    async def stream():
        with anyio.move_on_after(0.01):
            yield 1
            await anyio.sleep_forever()
        yield 2

    assert await read(put_on(registry, stream)()) == [1, 2]


def hedged_directly(registry, stream):
    async def ask(_endpoint):
        return stream()

    call = failover(A, B, name="regions", hedge_after=5, registry=registry)(ask)

    async def opened():
        async with aclosing(await call()) as items:
            async for item in items:
                yield item

    return opened


def holding_a_scope(inner, *then, error=None):
    """A stream whose first item comes inside a scope, which is added to `inner`; the others come after the scope."""

    async def stream():
        with anyio.CancelScope() as scope:
            inner.append(scope)
            yield 1
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        if error is not None:
            raise error
        for item in then:
            yield item

    return stream


in_a_task_of_its_own = pytest.mark.parametrize("put_on", [hedged_directly, fallen_back])


@in_a_task_of_its_own
@pytest.mark.parametrize("fails", [False, True])
async def test_a_deadline_of_the_stream_that_rings_between_two_items_ends_what_it_is_around(registry, put_on, fails):
    inner, got = [], []
    stream = holding_a_scope(inner, 2, 3, error=TimeoutError("of the stream") if fails else None)
    with pytest.raises(TimeoutError, match="of the stream") if fails else nullcontext():
        async with aclosing(put_on(registry, stream)()) as items:
            async for item in items:
                got.append(item)
                inner[0].cancel()
                await anyio.wait_all_tasks_blocked()

    assert got == ([1] if fails else [1, 2, 3])
    await anyio.lowlevel.checkpoint()  # the caller's own task is as it was


@in_a_task_of_its_own
async def test_a_stream_may_be_closed_while_its_own_deadline_rings(registry, put_on):
    left = []

    async def stream():
        with anyio.CancelScope() as scope:
            try:
                inner.append(scope)
                yield 1
            finally:
                left.append(True)
        await anyio.sleep_forever()
        yield 2

    inner = []
    async with aclosing(put_on(registry, stream)()) as items:
        assert await anext(items) == 1
        inner[0].cancel()

    assert left == [True]
    await anyio.lowlevel.checkpoint()


@in_a_task_of_its_own
async def test_an_item_may_be_asked_for_while_a_deadline_of_the_stream_rings(registry, put_on):
    inner = []

    async with aclosing(put_on(registry, holding_a_scope(inner, 2))()) as items:
        assert await anext(items) == 1
        inner[0].cancel()
        assert [item async for item in items] == [2]


async def test_a_scope_below_another_generator_that_ends_between_two_items_is_an_error_and_not_the_end(registry):
    inner = []

    async with aclosing(hedged(registry, holding_a_scope(inner, 2))()) as items:
        assert await anext(items) == 1
        inner[0].cancel()
        with pytest.raises(RuntimeError, match="cancel scope that it holds across a yield, has ended"):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    await anyio.lowlevel.checkpoint()  # the caller's own task is as it was


async def test_a_context_variable_that_is_set_inside_is_seen_inside(registry, put_on):
    async def stream():
        NAME.set("of the stream")
        await anyio.lowlevel.checkpoint()
        yield NAME.get()
        await anyio.lowlevel.checkpoint()
        yield NAME.get()

    assert await read(put_on(registry, stream)()) == ["of the stream", "of the stream"]


async def test_a_scope_is_left_when_the_consumer_leaves(registry, put_on):
    left = []

    async def stream():
        with anyio.fail_after(5):
            try:
                yield 1
                yield 2
            finally:
                await anyio.lowlevel.checkpoint()
                left.append(True)

    async with aclosing(put_on(registry, stream)()) as items:
        async for _ in items:
            break

    assert left == [True]
    await anyio.lowlevel.checkpoint()


async def test_a_task_group_is_left_when_the_consumer_leaves(registry, put_on):
    """Closing puts a GeneratorExit into a group there; in a task of trio's that would end the whole program."""
    ends = []

    async def stream():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            try:
                yield 1
                yield 2
            finally:
                ends.append("left")

    async with aclosing(put_on(registry, stream)()) as items:
        async for _ in items:
            break

    assert ends == ["left"]
    await anyio.lowlevel.checkpoint()


async def test_a_consumer_that_is_cancelled_does_not_wait_for_ever_for_a_stream_that_holds_a_shield(registry, put_on):
    ready, go, ends = anyio.Event(), anyio.Event(), []

    async def stream():
        try:
            with anyio.CancelScope(shield=True):
                ready.set()
                await go.wait()
                yield 1
                yield 2
        finally:
            ends.append("left")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, put_on(registry, stream)())
        await ready.wait()
        tasks.cancel_scope.cancel()
        go.set()

    assert ends == ["left"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_timeout_of_asyncio_rings(registry, put_on, anyio_backend):
    async def stream():
        try:
            async with asyncio.timeout(0.01):
                yield 1
                await asyncio.sleep(30)
        except TimeoutError:
            yield "late"

    assert await read(put_on(registry, stream)()) == [1, "late"]


async def test_its_task_is_one(registry, put_on):
    async def stream():
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            yield anyio.get_current_task().id

    assert len(set(await read(put_on(registry, stream)()))) == 1


async def test_the_winner_of_a_hedge_keeps_its_scope_and_the_loser_leaves_its_own():
    registry, left = Registry(listeners=()), []

    @failover(A, B, strategy="priority", hedge_after=0.01, hedge_budget=1.0, registry=registry)
    async def stream(endpoint):
        async with anyio.create_task_group():
            try:
                if endpoint is A:
                    await anyio.sleep_forever()
                yield endpoint.name
                await anyio.lowlevel.checkpoint()
                yield endpoint.name
            finally:
                left.append(endpoint.name)

    assert await read(stream()) == ["b", "b"]
    assert left == ["a", "b"]
    assert not any(each.stats().in_flight for each in registry.endpoints.values())
