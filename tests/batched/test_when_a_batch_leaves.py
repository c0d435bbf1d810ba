"""When a batch leaves: full, heavy or after its timeout."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from tests.batched.support import Recorder, each, gather, settled


async def test_calls_that_come_close_together_share_one_call_and_get_their_own_results(registry, clock):
    provider = Recorder()
    send = provider.batched(registry, batch_size=3)
    results = await gather(*each(send, "a", "b", "c"))

    assert results == ["<a>", "<b>", "<c>"]
    assert provider.calls == [["a", "b", "c"]]
    assert clock.now() == 0


async def test_a_batch_that_is_not_full_leaves_a_timeout_after_its_first_item(registry, clock):
    provider = Recorder()
    send = provider.batched(registry, batch_size=10, batch_timeout=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, "first")
        await settled()
        clock.advance(3)
        tasks.start_soon(send, "second")
        await settled()
        clock.advance(1.9)
        await settled()
        assert provider.calls == []
        clock.advance(0.1)

    assert provider.calls == [["first", "second"]]


async def test_a_lone_caller_waits_the_timeout_and_no_longer(registry, clock):
    send = Recorder().batched(registry, batch_timeout=5)
    async with clock.autojump():
        assert await send("alone") == "<alone>"

    assert clock.now() == 5


async def test_without_a_timeout_what_is_ready_in_this_turn_goes_together(registry, clock):
    provider = Recorder()
    send = provider.batched(registry, batch_size=100, batch_timeout=0)
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(send, str(number))

    assert [len(call) for call in provider.calls] == [20]
    assert await send("alone") == "<alone>"
    assert clock.now() == 0


async def test_a_batch_leaves_when_its_weight_is_reached(registry):
    provider = Recorder()
    send = provider.batched(registry, batch_size=100, weight=len, max_weight=10)
    async with anyio.create_task_group() as tasks:
        for text in ("aaaa", "bbbb", "cccc", "dddddd", "far-too-long", "e" * 10):
            tasks.start_soon(send, text)
            await settled()

    # The third would have been too much for the first batch; it and the fourth are 10 exactly. Too long goes alone.
    assert provider.calls == [["aaaa", "bbbb"], ["cccc", "dddddd"], ["far-too-long"], ["e" * 10]]


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "heavy", None])
async def test_a_weight_that_is_none_is_that_callers_error_and_shows_no_text(registry, weight):
    provider = Recorder()
    send = provider.batched(registry, weight=lambda _item: weight, max_weight=10)
    with pytest.raises(ValueError, match=r"weight= of .* must give a number of at least 0") as caught:
        await send("secret")

    assert "secret" not in str(caught.value)
    assert "heavy" not in str(caught.value)
    assert provider.calls == []


async def test_batches_of_one_run_at_once(registry, clock):
    provider = Recorder()
    send = provider.batched(registry, batch_size=1)

    assert await gather(*each(send, "a", "b")) == ["<a>", "<b>"]
    assert provider.calls == [["a"], ["b"]]
    assert clock.now() == 0
