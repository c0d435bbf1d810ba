"""Batched functions that call each other: whoever would wait for ever is told so, and everybody else is served."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import batched


class Web:
    """Batched functions by name, each of which calls the next of the item's path, `"b/a"` say, and answers `"done"`."""

    def __init__(self, registry, clock, **places):
        self.clock = clock
        self.outcomes = {}
        self.functions = {
            name: batched(name, batch_size=2, batch_timeout=1.0, max_concurrency=most, registry=registry)(self.visit)
            for name, most in places.items()
        }

    async def visit(self, items: list[str]) -> list[str]:
        await self.clock.sleep(5.0)
        return [await self.go(item) if item else "done" for item in items]

    async def go(self, path, within=None):
        name, _, rest = path.partition("/")
        if within is None:
            return await self.functions[name](rest)
        with self.clock.move_on_after(within):
            return await self.functions[name](rest)
        return "too late"

    async def call(self, path):
        try:
            self.outcomes.setdefault(path, []).append(await self.go(path))
        except RuntimeError as error:
            self.outcomes.setdefault(path, []).append(error)

    async def all(self, *paths, apart=0.0):
        """The outcomes of these calls, made one after the other."""
        with anyio.fail_after(5):
            async with self.clock.autojump(), anyio.create_task_group() as tasks:
                for path in paths:
                    tasks.start_soon(self.call, path)
                    if apart:
                        await self.clock.sleep(apart)
                while sum(map(len, self.outcomes.values())) < len(paths):
                    await self.clock.sleep(1.0)
        return [outcome for path in dict.fromkeys(paths) for outcome in self.outcomes[path]]


def told(outcomes):
    return [str(each) for each in outcomes if isinstance(each, RuntimeError)]


async def test_two_functions_that_wait_for_each_others_only_place(registry, clock):
    outcomes = await Web(registry, clock, a=1, b=1).all("a/b", "b/a")

    assert len(told(outcomes)) == 1
    assert "would wait for ever; raise max_concurrency of one" in told(outcomes)[0]
    assert outcomes.count("done") == 1
    assert not any(batcher.stats().is_running for batcher in registry.batches.values())


async def test_three_in_a_ring(registry, clock):
    outcomes = await Web(registry, clock, a=1, b=1, c=1).all("a/b", "b/c", "c/a")

    assert (len(told(outcomes)), outcomes.count("done")) == (1, 2)


async def test_through_a_batch_that_somebody_else_began_and_a_function_without_a_bound(registry, clock):
    """`u` is shared by a caller from outside, whose context it runs in, and one from inside `a`, which it calls."""
    outcomes = await Web(registry, clock, a=1, u=None).all("a/u", "u/a", apart=5.5)

    assert len(told(outcomes)) == 2  # what the batch of both raised
    assert not any(batcher.stats().is_running for batcher in registry.batches.values())


async def test_every_place_of_several_is_held_by_who_waits(registry, clock):
    crossed = ["a/b", "a/b", "b/a", "b/a"] * 2
    outcomes = await Web(registry, clock, a=2, b=2).all(*crossed)

    assert len(outcomes) == 8
    assert len(told(outcomes)) >= 1
    assert "done" in outcomes


async def test_who_only_waits_long_is_served(registry, clock):
    """Many calls from inside `a` for the only place of `b`: nothing waits the other way."""
    outcomes = await Web(registry, clock, a=None, b=1).all(*["a/b"] * 12, "b", "b")

    assert outcomes == ["done"] * 14


async def test_a_place_that_another_batch_will_give_back_is_waited_for(registry, clock):
    outcomes = await Web(registry, clock, a=2, b=1).all("a/b", "b/a", "a")

    assert outcomes == ["done"] * 3


async def test_who_has_given_up_waiting_is_no_reason_to_refuse(registry, clock):
    """A call inside `a` for the place of `b` has run out of time when the batch of `b` asks for that of `a`."""
    web = Web(registry, clock, a=1, b=1)
    heard = []

    async def impatient(items: list[str]) -> list[str]:
        if not heard:
            heard.append(await web.go("b", within=2.0))
        await clock.sleep(20.0)
        return items

    a = web.functions["a"] = batched("impatient", batch_timeout=0.0, max_concurrency=1, registry=registry)(impatient)

    async with clock.autojump(), anyio.create_task_group() as tasks:
        tasks.start_soon(web.call, "b/a")
        await clock.sleep(1.5)
        tasks.start_soon(a, "first")
        await clock.sleep(0.5)
        tasks.start_soon(web.call, "b")  # in the batch that the other one leaves

    assert heard == ["too late"]
    assert web.outcomes == {"b/a": [""], "b": ["done"]}


@pytest.mark.parametrize("times", [1, 5])
async def test_the_function_answers_again_afterwards(registry, clock, times):
    web = Web(registry, clock, a=1, b=1)
    for _ in range(times):
        web.outcomes.clear()
        await web.all("a/b", "b/a")
    web.outcomes.clear()

    assert await web.all("a", "b") == ["done", "done"]
