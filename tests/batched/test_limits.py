"""Queue size, batches at a time, equal items."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import QueueFullError, batched
from resilient_ai.events import CallRejected
from tests.batched.support import Recorder, each, gather, settled


async def test_over_the_queue_size_a_call_is_refused_at_once(registry, events):
    provider = Recorder()
    provider.gate = anyio.Event()
    send = provider.batched(registry, batch_size=2, max_concurrency=1, max_queue_size=3)
    async with anyio.create_task_group() as tasks:
        for item in "ab" + "cde":
            tasks.start_soon(send, item)
            await settled()
        with pytest.raises(QueueFullError, match=r"'batch' is full with 3 items") as caught:
            await send("f")
        stats, state = registry.batches["batch"].stats(), registry.batches["batch"].row().state
        provider.gate.set()
        registry.clock.advance(1)

    assert (caught.value.name, caught.value.max_queue_size) == ("batch", 3)
    assert events[1:2] == [CallRejected("batch", "queue_full", None)]
    assert (stats.queue_size, stats.in_flight, stats.rejected, stats.is_running) == (3, 1, 1, True)
    assert state == "2.0 per batch, 3 waiting, 1 in flight"
    assert provider.calls == [["a", "b"], ["c", "d"], ["e"]]
    assert not registry.batches["batch"].stats().is_running


async def test_no_more_batches_run_than_allowed_and_those_that_wait_fill_themselves(registry, clock):
    provider = Recorder()
    provider.gate = anyio.Event()
    send = provider.batched(registry, batch_size=3, batch_timeout=1, max_concurrency=2)
    async with anyio.create_task_group() as tasks:
        for item in "abc" + "def" + "g":
            tasks.start_soon(send, item)
            await settled()
        clock.advance(10)  # due, but there is no place
        await settled()
        tasks.start_soon(send, "h")
        await settled()
        assert provider.calls == [["a", "b", "c"], ["d", "e", "f"]]
        provider.gate.set()

    assert provider.calls[2:] == [["g", "h"]]


async def test_groups_take_turns_for_the_places(registry):
    calls = []
    gate = anyio.Event()

    @batched(batch_size=1, max_concurrency=1, registry=registry)
    async def send(items: list[str], tenant: str) -> list[str]:
        calls.append(tenant)
        await gate.wait()
        return items

    async with anyio.create_task_group() as tasks:
        for tenant in ["big"] * 5 + ["small"] * 2:
            tasks.start_soon(send, "x", tenant)
            await settled()
        gate.set()

    assert calls == ["big", "big", "small", "big", "small", "big", "big"]


async def test_equal_items_in_flight_are_sent_once(registry):
    provider = Recorder()
    provider.gate = anyio.Event()
    send = provider.batched(registry, batch_size=3, deduplicate=True)
    results = []

    async def ask(item):
        results.append((item, await send(item)))

    async with anyio.create_task_group() as tasks:
        for item in ["a", "b", "a", 1, True, "b"]:  # the last while the first three run
            tasks.start_soon(ask, item)
            await settled()
        provider.gate.set()
        registry.clock.advance(1)

    assert provider.calls == [["a", "b", 1], [True]]
    assert sorted(results, key=str) == sorted(
        [("a", "<a>"), ("a", "<a>"), ("b", "<b>"), ("b", "<b>"), (1, "<1>"), (True, "<True>")], key=str
    )


async def test_a_batch_that_asks_itself_for_a_place_it_holds_is_told_so(registry):
    async def nested(items: list[int]) -> list[int]:
        return [await call(item - 1) if item else 0 for item in items]

    call = batched("self", batch_timeout=0, max_concurrency=1, registry=registry)(nested)
    with pytest.raises(RuntimeError, match="calls itself from inside one of its batches"):
        await call(1)
    free = call = batched("free", batch_timeout=0, registry=registry)(nested)

    assert await free(3) == 0


async def test_items_of_other_types_are_not_the_same_item_however_deep_they_lie(registry):
    provider = Recorder(lambda items: [repr(item) for item in items])
    send = provider.batched(registry, batch_size=4, deduplicate=True)
    items = [(1,), (True,), [1.0], [1]]

    with anyio.fail_after(5):  # fewer items would not fill the batch
        assert await gather(*each(send, *items)) == ["(1,)", "(True,)", "[1.0]", "[1]"]


def nested(depth):
    value = ["deep"]
    for _ in range(depth):
        value = [value]
    return value


def containing_itself():
    value = ["a list"]
    value.append({"itself": value})
    return value


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: nested(2_000), id="deep"),
        pytest.param(containing_itself, id="itself"),
        pytest.param(lambda: tuple(nested(2_000)), id="deep in a tuple"),
        pytest.param(lambda: [*range(20_000), "text"], id="long"),
        pytest.param(lambda: [bytearray(b"text")], id="with a buffer"),
    ],
)
async def test_items_that_cannot_be_compared_are_each_an_item_of_their_own(make, registry):
    provider = Recorder(lambda items: [id(item) for item in items])
    send = provider.batched(registry, batch_size=3, deduplicate=True)
    one, equal, end = make(), make(), "end"

    with anyio.fail_after(5):  # fewer items would not fill the batch
        assert await gather(*each(send, one, equal, one, end)) == [id(one), id(equal), id(one), id(end)]


async def test_a_deduplicated_item_that_waits_for_itself_is_told_so(registry):
    async def nested(items: list[int]) -> list[int]:
        return [await call(item) for item in items]

    call = batched("self", batch_timeout=0, deduplicate=True, registry=registry)(nested)
    with pytest.raises(RuntimeError, match="would wait for ever"):
        await call(1)
