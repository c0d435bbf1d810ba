"""With `when_full="wait"`, a call over the queue size waits for room, first come first served."""

from __future__ import annotations

import asyncio  # noqa: TID251 - a loop is closed by hand, as anyio never does
import contextvars
import gc

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import QueueFullError, Registry, batched, classified_retry, watch
from tests.batched.support import Recorder, Scene, each, gather, settled
from tests.helpers import work_of

ONE_BY_ONE = {"batch_size": 1, "max_concurrency": 1, "max_queue_size": 1, "when_full": "wait"}


async def test_calls_over_the_queue_size_are_sent_in_the_order_in_which_they_came(registry, events):
    provider = Recorder()
    send = provider.batched(registry, batch_size=2, max_concurrency=1, max_queue_size=3, when_full="wait")
    provider.gate = anyio.Event()
    results = {}

    async def ask(item):
        results[item] = await send(item)

    async with anyio.create_task_group() as tasks:
        for item in "abcdefghij":
            tasks.start_soon(ask, item)
            await settled()
        stats, state = registry.batches["batch"].stats(), registry.batches["batch"].row().state
        provider.gate.set()

    assert provider.calls == [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"], ["i", "j"]]
    assert results == {item: f"<{item}>" for item in "abcdefghij"}
    assert (stats.queue_size, stats.waiting_for_room, stats.in_flight, stats.rejected) == (3, 5, 1, 0)
    assert (stats.total_requests, stats.is_running) == (10, True)
    assert state == "2.0 per batch, 3 waiting, 1 in flight, 5 waiting for room"
    assert [type(event).__name__ for event in events] == ["BatchSent"] * 5


async def test_who_comes_later_does_not_take_the_room_that_another_waits_for(registry):
    scene = Scene(registry, **ONE_BY_ONE)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abcd")  # a runs, b is in the queue, c and d wait for room
        await scene.cancel("b")
        await scene.start(tasks, "e")
        scene.gate.set()

    assert scene.calls == [["a"], ["c"], ["d"], ["e"]]
    assert scene.is_idle()


@pytest.mark.parametrize("who", "bcd")
async def test_who_leaves_while_waiting_is_not_sent_and_hurts_nobody(registry, who):
    scene = Scene(registry, **ONE_BY_ONE)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abcd")
        await scene.cancel(who)
        assert (scene.stats.queue_size, scene.stats.waiting_for_room) == (1, 1)
        scene.gate.set()

    stayed = [item for item in "abcd" if item != who]
    assert scene.calls == [[item] for item in stayed]
    assert scene.outcomes == {who: "cancelled", **{item: f"<{item}>" for item in stayed}}
    assert (scene.stats.neutral, scene.stats.waiting_for_room) == (1, 0)
    assert scene.is_idle()


async def test_who_leaves_after_it_was_let_in_makes_room_for_the_next(registry):
    scene = Scene(registry, **ONE_BY_ONE)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abcde")
        await scene.cancel("b")
        await scene.cancel("c")
        assert (scene.stats.queue_size, scene.stats.waiting_for_room) == (1, 1)
        scene.gate.set()

    assert scene.calls == [["a"], ["d"], ["e"]]
    assert (scene.stats.neutral, scene.is_idle()) == (2, True)


@pytest.mark.parametrize("first", ["room", "leaving"])
@pytest.mark.parametrize("who", ["cd", "c", "d"])
async def test_who_leaves_at_the_moment_when_there_is_room_hurts_nobody(registry, who, first):
    scene = Scene(registry, batch_size=2, batch_timeout=1, max_queue_size=2, max_concurrency=1, when_full="wait")
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"xyabcdef")
        if first == "room":
            scene.scopes["a"].cancel()
        for item in who:
            scene.scopes[item].cancel()
        if first == "leaving":
            scene.scopes["a"].cancel()
        scene.gate.set()
        await settled()
        registry.clock.advance(1)

    stayed = [item for item in "cdef" if item not in who]
    batches = [["x", "y"], ["b"], stayed[:2], stayed[2:]]  # that of a and b was full
    assert scene.calls == [batch for batch in batches if batch]
    assert {item for item, outcome in scene.outcomes.items() if outcome == "cancelled"} == {"a", *who}
    assert scene.is_idle()


async def test_a_callers_deadline_ends_its_waiting(registry, clock):
    scene = Scene(registry, **ONE_BY_ONE)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"ab")

        async def hurried():
            with clock.move_on_after(5) as scope:
                await scene.send("c")
            scene.outcomes["c"] = scope.cancelled_caught, clock.now()

        start = clock.now()
        tasks.start_soon(hurried)
        await settled()
        clock.advance(5)
        await settled()
        assert scene.outcomes["c"] == (True, start + 5)
        scene.gate.set()

    assert scene.calls == [["a"], ["b"]]
    assert scene.is_idle()


async def test_whoever_was_cancelled_before_it_called_waits_for_nothing(registry):
    scene = Scene(registry, **ONE_BY_ONE)
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"ab")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await scene.send("c")
        scene.gate.set()

    assert scene.calls == [["a"], ["b"]]
    assert scene.is_idle()


async def test_a_call_that_waited_has_its_own_context_and_observers(registry):
    var, seen = contextvars.ContextVar("var", default="nobody"), []
    gate = anyio.Event()

    @batched(registry=registry, **ONE_BY_ONE)
    @classified_retry(registry=registry)
    async def send(items: list[str]) -> list[str]:
        seen.append((items, var.get()))
        await gate.wait()
        return items

    async def ask(item):
        var.set(f"context of {item}")
        with watch() as facts:
            await send(item)
        assert facts.attempts == 1

    async with anyio.create_task_group() as tasks:
        for item in "abcd":
            tasks.start_soon(ask, item)
            await settled()
        gate.set()

    assert seen == [([item], f"context of {item}") for item in "abcd"]


async def test_callers_that_waited_for_one_batch_are_each_told_of_its_call(registry):
    gate, seen = anyio.Event(), {}

    @batched(batch_size=2, max_concurrency=1, max_queue_size=2, when_full="wait", registry=registry)
    @classified_retry(registry=registry)
    async def send(items: list[str]) -> list[str]:
        await gate.wait()
        return items

    async def ask(item):
        with watch() as facts:
            await send(item)
        seen[item] = facts.attempts

    async with anyio.create_task_group() as tasks:
        for item in "abcdef":
            tasks.start_soon(ask, item)
            await settled()
        gate.set()

    assert seen == dict.fromkeys("abcdef", 1)


async def test_an_equal_item_that_is_in_flight_needs_no_room(registry):
    provider = Recorder()
    provider.gate = anyio.Event()
    send = provider.batched(registry, deduplicate=True, **ONE_BY_ONE)
    outcomes = []

    async def all_of(items):
        outcomes.extend(await gather(*each(send, *items)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_of, "abcabc")
        await settled()
        for _ in range(6):
            await settled()
        stats = registry.batches["batch"].stats()
        provider.gate.set()

    assert (stats.queue_size, stats.waiting_for_room) == (1, 2)  # both callers of c
    assert provider.calls == [["a"], ["b"], ["c"]]
    assert outcomes == [f"<{item}>" for item in "abcabc"]


async def test_an_error_of_the_function_reaches_a_caller_that_waited(registry):
    error = LookupError("not there")
    provider = Recorder(lambda items: [error if item == "c" else item for item in items])
    provider.gate = anyio.Event()
    send = provider.batched(registry, **ONE_BY_ONE)
    outcomes = []

    async def all_of(items):
        outcomes.extend(await gather(*each(send, *items)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_of, "abcd")
        for _ in range(5):
            await settled()
        provider.gate.set()

    assert outcomes == ["a", "b", error, "d"]
    assert registry.batches["batch"].stats().failed == 1


class TwoWays:
    """Two functions with one place each, which call each other when they are told to."""

    def __init__(self, registry):
        self.gates = {name: anyio.Event() for name in "12345"}
        self.outcomes = {}
        self.one = batched("one", registry=registry, **ONE_BY_ONE)(self.visit)
        self.other = batched("other", registry=registry, **ONE_BY_ONE)(self.visit)
        self.registry = registry

    async def visit(self, items: list[str]) -> list[str]:
        """A path such as "1o2/": wait for gate 1, call the other function, wait for gate 2 in it."""
        (path,) = items
        for step in path:
            if step == "/":
                break
            if step in self.gates:
                await self.gates[step].wait()
            else:
                rest = path.partition(step)[2]
                call, inner, rest = self.one if step == "a" else self.other, *rest.split("/", 1)
                await call(inner)
                await self.visit([rest])
                break
        return items

    async def start(self, tasks, **calls):
        for name, (function, path) in calls.items():
            tasks.start_soon(self._call, name, function, path)
            await settled()

    async def _call(self, name, function, path):
        try:
            await function(path)
        except RuntimeError as error:
            self.outcomes[name] = str(error)
        else:
            self.outcomes[name] = "answered"

    async def open(self, *gates):
        for gate in gates:
            self.gates[gate].set()
            await settled()


@pytest.mark.parametrize("order", ["12", "21"])
async def test_batches_that_wait_for_room_and_for_a_place_of_each_other_are_told_so(registry, order):
    """The batch of `one` waits for room behind a batch of `other`, which waits for the place of `one`."""
    both = TwoWays(registry)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await both.start(tasks, first=(both.one, "1b/"), second=(both.other, "2a/"), in_queue=(both.other, ""))
            await both.open(*order)

    told = both.outcomes.pop("second" if order == "12" else "first")
    assert "both would wait for ever" in told
    assert set(both.outcomes.values()) == {"answered"}
    assert not registry.batches["one"].stats().is_running
    assert not registry.batches["other"].stats().is_running


async def test_one_that_was_let_in_and_waits_for_its_place_is_told_so_too(registry):
    both = TwoWays(registry)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await both.start(tasks, running=(both.other, "1"), next_one=(both.other, "2a/"), first=(both.one, "b/"))
            await both.open("1")  # `next_one` runs, and `first` is let in behind it
            await both.open("2")

    assert "both would wait for ever" in both.outcomes.pop("next_one")
    assert both.outcomes == {"running": "answered", "first": "answered"}


async def test_one_that_waited_for_room_and_has_its_outcome_waits_for_nobody_any_more(registry):
    both = TwoWays(registry)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await both.start(tasks, running=(both.other, "1"), next_one=(both.other, ""), first=(both.one, "b/3"))
            await both.open("1")  # `first` has waited for room, and stays at gate 3
            await both.start(tasks, later=(both.other, "a/"))
            assert both.outcomes == {"running": "answered", "next_one": "answered"}
            await both.open("3")

    assert set(both.outcomes.values()) == {"answered"}


async def test_from_inside_another_batch_a_call_may_wait_for_room_that_others_make(registry):
    gate = anyio.Event()

    async def inner_items(items: list[str]) -> list[str]:
        await gate.wait()
        return items

    async def outer_items(items: list[str]) -> list[str]:
        return [await inner(item) for item in items]

    inner = batched("inner", registry=registry, **ONE_BY_ONE)(inner_items)
    outer = batched("outer", batch_size=1, max_concurrency=5, registry=registry)(outer_items)
    outcomes = []

    async def all_of(items):
        outcomes.extend(await gather(*each(outer, *items)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_of, "abcde")
        for _ in range(6):
            await settled()
        assert registry.batches["inner"].stats().waiting_for_room == 3
        gate.set()

    assert outcomes == [*"abcde"]


def test_a_loop_closed_with_callers_in_line_takes_them_along_and_the_next_starts_afresh():
    registry = Registry(listeners=())
    scene = Scene(registry, **ONE_BY_ONE)

    async def leave_waiting():
        tasks.extend(asyncio.create_task(scene._call(item)) for item in "abcd")
        await settled()

    tasks = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # "task was destroyed but it is pending"
    loop.run_until_complete(leave_waiting())
    assert scene.stats.waiting_for_room == 2
    loop.close()
    tasks.clear()
    gc.collect()

    async def ask():
        return await gather(*each(Recorder().batched(registry, **ONE_BY_ONE), *"ab"))

    assert (scene.stats.waiting_for_room, scene.stats.is_running) == (0, False)
    assert anyio.run(ask) == ["<a>", "<b>"]


async def test_a_caller_in_a_long_line_costs_what_one_in_a_short_line_costs(registry):
    work = {}
    for callers in (100, 400):
        send = Recorder().batched(Registry(listeners=()), **{**ONE_BY_ONE, "batch_timeout": 0})

        async def rush(callers=callers, send=send):
            async with anyio.create_task_group() as tasks:
                for number in range(callers):
                    tasks.start_soon(send, str(number))

        work[callers] = await work_of(rush) / callers

    assert work[400] < 1.2 * work[100]


async def test_without_it_a_call_is_refused_at_once(registry):
    scene = Scene(registry, **{**ONE_BY_ONE, "when_full": "raise"})
    async with anyio.create_task_group() as tasks:
        await scene.start(tasks, *"abc")
        scene.gate.set()

    assert isinstance(scene.outcomes["c"], QueueFullError)
    assert scene.stats.rejected == 1


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"^when_full must be \"raise\" or \"wait\", got 'block'$"):
        batched(when_full="block")
