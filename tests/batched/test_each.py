"""What users of `each` can rely on."""

from __future__ import annotations

import inspect

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import batched, each


async def shout(text: str, mark: str = "!") -> str:
    """Louder."""
    if not text:
        raise ValueError("nothing to say")
    await anyio.lowlevel.checkpoint()
    return text.upper() + mark


async def test_results_and_exceptions_come_in_the_order_of_the_items():
    first, second, third = await each(shout)(["a", "", "c"], mark="?")

    assert (first, third) == ("A?", "C?")
    assert isinstance(second, ValueError)
    assert await each(shout)([]) == []
    assert await each(shout)(["a"], "?") == ["A?"]


@pytest.mark.parametrize("bound", [1, 3, 100])
async def test_no_more_calls_run_at_a_time_than_allowed(bound):
    running, most = 0, 0

    async def count(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(item % 3 + 1):
            await anyio.lowlevel.checkpoint()
        running -= 1
        return item

    assert await each(count, max_concurrency=bound)(list(range(20))) == list(range(20))
    assert most == min(bound, 20)


async def test_cancellation_stops_every_call():
    ended = []

    async def forever(item: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(item)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(each(forever, max_concurrency=2), [1, 2, 3])
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

    assert sorted(ended) == [1, 2]


async def test_it_lifts_methods_and_decorates_in_a_class_body():
    class Voice:
        mark = "!!"

        async def shout(self, text: str) -> str:
            return text.upper() + self.mark

        @each(max_concurrency=2)
        async def whisper(self, text: str, mark: str = "") -> str:
            return text.lower() + mark

    voice = Voice()

    assert await each(voice.shout)(["a", "b"]) == ["A!!", "B!!"]
    assert await voice.whisper(["A", "B"], mark="~") == ["a~", "b~"]
    assert str(inspect.signature(voice.whisper)) == "(text: 'list[str]', mark: 'str' = '') -> 'list[str]'"


async def test_under_batched_one_item_failing_is_its_callers_alone(registry):
    ask = batched(batch_size=3, registry=registry)(each(shout, max_concurrency=2))
    outcomes = {}

    async def call(text):
        try:
            outcomes[text] = await ask(text, mark="?")
        except ValueError as error:
            outcomes[text] = str(error)

    async with anyio.create_task_group() as tasks:
        for text in ("a", "", "c"):
            tasks.start_soon(call, text)

    assert outcomes == {"a": "A?", "": "nothing to say", "c": "C?"}
    assert str(inspect.signature(ask)) == "(text: 'str', mark: 'str' = '!') -> 'str'"
    assert registry.batches["shout"].stats().total_batches == 1


def test_it_stays_true_to_what_it_lifts():
    lifted = each(shout)

    assert (lifted.__name__, lifted.__doc__) == ("shout", "Louder.")
    assert str(inspect.signature(lifted)) == "(text: 'list[str]', mark: 'str' = '!') -> 'list[str]'"
    assert inspect.iscoroutinefunction(lifted)


async def test_what_it_cannot_lift_is_refused():
    async def stream(item):
        yield item

    with pytest.raises(TypeError, match="needs an async function, got the plain function"):
        each(lambda item: item)
    with pytest.raises(TypeError, match="is an async generator"):
        each(stream)
    with pytest.raises(TypeError, match="shout needs a list of items as its first argument"):
        await each(shout)()
    with pytest.raises(ValueError, match="max_concurrency must be an integer of at least 1, got 0"):
        each(shout, max_concurrency=0)
