"""What users of `@batched` can rely on."""

from __future__ import annotations

import contextvars
import functools
import gc
import inspect
import weakref

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import BatchResultError, ErrorType, QueueFullError, Registry, batched, register_classifier
from resilient_ai._core.events import BatchSent, CallRejected


class Recorder:
    """A batch function that remembers its calls, and does what `then` says with each."""

    def __init__(self, then=None):
        self.calls = []
        self.gate = None
        self.then = then or (lambda items: [f"<{item}>" for item in items])

    def function(self):
        async def send(items: list[str], *, model: str = "small") -> list[str]:
            self.calls.append(list(items))
            if self.gate is not None:
                await self.gate.wait()
            return self.then(items)

        return send

    def batched(self, registry, **settings):
        return batched("batch", registry=registry, **settings)(self.function())


async def settled():
    """Until every task waits for something."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()  # on asyncio, anyio looks only every 0.1 s
    await anyio.wait_all_tasks_blocked()


async def gather(*calls):
    """Start the calls in order; outcomes in that order, exceptions among them."""
    outcomes = [None] * len(calls)

    async def run(number, call):
        try:
            outcomes[number] = await call()
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(run, number, call)
            await settled()
    return outcomes


async def advance(clock):
    clock.advance(1)


def each(function, *items, **kwargs):
    return [functools.partial(function, item, **kwargs) for item in items]


# -- leaving


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


# -- groups


async def test_only_calls_with_equal_other_arguments_share_a_batch_and_a_default_is_equal_to_itself_given(registry):
    calls = []

    @batched(batch_size=2, registry=registry)
    async def embed(texts: list[str], model: str = "small", *, size: int = 1) -> list[str]:
        calls.append((texts, model, size))
        return texts

    await gather(
        lambda: embed("a"),
        lambda: embed("b", model="large"),
        lambda: embed("c", "small"),
        lambda: embed("d", "large", size=1),
        lambda: embed("e", size=True),
        lambda: embed(texts="f", size=True),
    )

    assert calls == [(["a", "c"], "small", 1), (["b", "d"], "large", 1), (["e", "f"], "small", True)]


async def test_arguments_that_cannot_be_hashed_group_by_their_content_or_else_by_identity(registry):
    calls = []

    class Opaque:
        __hash__ = None

    one, other = Opaque(), Opaque()

    @batched(batch_size=2, registry=registry)
    async def embed(texts: list[str], options: object, **extra: object) -> list[str]:
        calls.append(texts)
        return texts

    await gather(
        lambda: embed("a", {"tags": ["x"], "n": {1, 2}}),
        lambda: embed("b", one),
        lambda: embed("c", {"n": {2, 1}, "tags": ["x"]}),
        lambda: embed("d", other),
        lambda: embed("e", one),
        lambda: embed("f", options=other),
        lambda: embed("g", 1, z=[], y=2),
        lambda: embed("h", 1, y=2, z=[]),
    )

    assert calls == [["a", "c"], ["b", "e"], ["d", "f"], ["g", "h"]]


async def test_arguments_that_refuse_to_be_compared_group_by_identity(registry):
    class Tensor:
        """Hashable by identity, and compared by element, like torch's."""

        def __eq__(self, other):
            raise RuntimeError("truth value of a tensor is ambiguous")

        __hash__ = object.__hash__

    tensor, calls = Tensor(), []

    @batched(batch_size=2, registry=registry)
    async def embed(texts: list[str], bias: object = None) -> list[str]:
        calls.append(texts)
        return texts

    await gather(
        lambda: embed("a", tensor),
        lambda: embed("b", Tensor()),
        lambda: embed("c", bias=tensor),
        functools.partial(advance, registry.clock),
    )

    assert calls == [["a", "c"], ["b"]]


async def test_group_by_replaces_the_other_arguments_and_the_first_callers_go_with_the_batch(registry):
    calls = []

    @batched(batch_size=2, group_by=lambda text, trace: text[0], registry=registry)
    async def embed(texts: list[str], trace: int) -> list[str]:
        calls.append((texts, trace))
        return texts

    await gather(lambda: embed("a1", 1), lambda: embed("b1", 2), lambda: embed("a2", 3), lambda: embed("b2", trace=4))

    assert calls == [(["a1", "a2"], 1), (["b1", "b2"], 2)]


async def test_a_wrong_call_is_its_callers_own_type_error(registry):
    @batched(batch_size=2, registry=registry)
    async def embed(texts: list[str], model: str = "small") -> list[str]:
        return texts

    results = await gather(
        lambda: embed("a", "small", model="small"),
        lambda: embed("b"),
        lambda: embed(),
        lambda: embed("c", "small"),
    )

    assert [type(result) for result in results] == [TypeError, str, TypeError, str]


async def test_methods_batch_per_instance_and_keep_none_alive(registry):
    calls = []

    class Client:
        @batched(batch_size=2, registry=registry)
        async def embed(self, texts: list[str], model: str = "small") -> list[str]:
            calls.append((self, texts))
            return texts

        @batched(batch_size=2, registry=registry)
        @classmethod
        async def of_class(cls, texts: list[str]) -> list[str]:
            calls.append((cls, texts))
            return texts

        @batched(batch_size=2, registry=registry)
        @staticmethod
        async def of_none(texts: list[str]) -> list[str]:
            calls.append((None, texts))
            return texts

    first, second = Client(), Client()
    await gather(*each(first.embed, "a"), *each(second.embed, "b"), *each(first.embed, "c"), *each(second.embed, "d"))
    await gather(*each(Client.of_class, "e"), *each(first.of_class, "f"))
    await gather(*each(Client.of_none, "g"), *each(second.of_none, "h"))

    assert calls == [
        (first, ["a", "c"]),
        (second, ["b", "d"]),
        (Client, ["e", "f"]),
        (None, ["g", "h"]),
    ]
    calls.clear()
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None


async def test_two_functions_of_one_name_share_the_numbers_and_never_a_batch(registry):
    one, other = Recorder(), Recorder()
    send_one, send_other = one.batched(registry, batch_size=2), other.batched(registry, batch_size=2)
    await gather(*each(send_one, "a"), *each(send_other, "b"), *each(send_one, "c"), *each(send_other, "d"))

    assert (one.calls, other.calls) == ([["a", "c"]], [["b", "d"]])
    assert registry.batches["batch"].stats().total_batches == 2


# -- errors


class PoisonError(Exception):
    """What a provider says to a batch with a bad item."""


@pytest.fixture
def _poison_is_invalid():
    unregister = register_classifier(
        lambda error: ErrorType.INVALID_REQUEST if isinstance(error, PoisonError) else None
    )
    yield
    unregister()


def refusing(items):
    if any("bad" in item for item in items):
        raise PoisonError("refused")
    return [f"<{item}>" for item in items]


async def test_an_exception_of_the_function_reaches_every_caller_as_one_of_its_own_with_the_same_cause(registry):
    def fail(items):
        raise OSError(5, "down") from KeyError("cause")

    results = await gather(*each(Recorder(fail).batched(registry, batch_size=3), "a", "b", "c"))

    assert [(type(error), error.args, str(error)) for error in results] == [
        (OSError, (5, "down"), "[Errno 5] down")
    ] * 3
    assert len({id(error) for error in results}) == 3
    assert len({id(error.__cause__) for error in results}) == 1
    assert isinstance(results[0].__cause__, KeyError)
    assert all(error.__traceback__ is not None for error in results)
    results[0].add_note("mine")
    assert not hasattr(results[1], "__notes__")


async def test_an_exception_in_the_list_reaches_only_its_own_caller(registry):
    shared = ValueError("twice")
    results = await gather(
        *each(
            Recorder(lambda items: ["ok", shared, KeyError("k"), shared]).batched(registry, batch_size=4),
            "a",
            "b",
            "c",
            "d",
        )
    )

    assert results[0] == "ok"
    assert [repr(error) for error in results[1:]] == ["ValueError('twice')", "KeyError('k')", "ValueError('twice')"]
    assert results[1] is not results[3]
    stats = registry.batches["batch"].stats()
    assert (stats.answered, stats.failed) == (1, 3)


@pytest.mark.parametrize("callers", [1, 2])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([], "returned 0 results for"),
        (["x", "y", "z"], "returned 3 results for"),
        (None, "got a NoneType"),
        ("ab", "got a str"),
        ({0: "a", 1: "b"}, "got a dict"),
        ({"a", "b"}, "got a set"),
        ((item for item in "ab"), "got a generator"),
    ],
)
async def test_a_function_that_breaks_its_contract_is_told_so(registry, callers, answer, said):
    send = Recorder(lambda items: answer).batched(registry, batch_size=callers)
    results = await gather(*each(send, *"ab"[:callers]))

    assert all(type(error) is BatchResultError and said in str(error) for error in results)


@pytest.mark.parametrize("callers", [1, 2])
async def test_any_sequence_will_do(registry, callers):
    send = Recorder(tuple).batched(registry, batch_size=callers)

    assert await gather(*each(send, *"ab"[:callers])) == list("ab"[:callers])


@pytest.mark.usefixtures("_poison_is_invalid")
async def test_bisect_finds_the_items_at_fault_and_saves_the_others(registry):
    provider = Recorder(refusing)
    texts = [f"bad-{number}" if number in (7, 40) else str(number) for number in range(64)]
    results = await gather(*each(provider.batched(registry, batch_size=64, bisect=True), *texts))

    assert [number for number, result in enumerate(results) if isinstance(result, PoisonError)] == [7, 40]
    assert [result for result in results if isinstance(result, str)] == [f"<{t}>" for t in texts if "bad" not in t]
    assert len(provider.calls) <= 1 + 2 * 12
    assert all(error.__context__ is None for error in results if isinstance(error, PoisonError))


@pytest.mark.usefixtures("_poison_is_invalid")
async def test_one_poison_item_among_64_costs_13_calls(registry):
    provider = Recorder(refusing)
    texts = ["bad" if number == 20 else str(number) for number in range(64)]
    await gather(*each(provider.batched(registry, batch_size=64, bisect=True), *texts))

    assert len(provider.calls) == 13


async def test_bisect_never_halves_for_errors_that_no_item_causes(registry):
    def fail(items):
        raise TimeoutError

    provider = Recorder(fail)
    results = await gather(*each(provider.batched(registry, batch_size=4, bisect=True), *"abcd"))

    assert len(provider.calls) == 1
    assert all(isinstance(error, TimeoutError) for error in results)


# -- limits


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


async def test_a_deduplicated_item_that_waits_for_itself_is_told_so(registry):
    async def nested(items: list[int]) -> list[int]:
        return [await call(item) for item in items]

    call = batched("self", batch_timeout=0, deduplicate=True, registry=registry)(nested)
    with pytest.raises(RuntimeError, match="would wait for ever"):
        await call(1)


# -- what it is seen by


var = contextvars.ContextVar("var", default="nobody")


async def test_the_function_sees_the_context_of_the_first_caller(registry):
    seen = []

    @batched(batch_size=2, registry=registry)
    async def send(items: list[str]) -> list[str]:
        seen.append((var.get(), len(items)))
        var.set("the function's own")
        return items

    async def ask(name):
        var.set(name)
        await send(name)
        assert var.get() == name

    await gather(lambda: ask("first"), lambda: ask("second"))

    assert seen == [("first", 2)]


async def test_numbers_and_events_tell_what_happened(registry, clock, events):
    send = Recorder().batched(registry, batch_size=3, batch_timeout=4)
    await gather(*each(send, "a", "b", "c"))
    async with clock.autojump():
        await send("d")
    stats = registry.batches["batch"].stats()

    assert events == [BatchSent("batch", 3, 0.0), BatchSent("batch", 1, 4.0)]
    assert (stats.total_requests, stats.total_batches, stats.avg_batch_size) == (4, 2, 2.0)
    assert (stats.queue_size, stats.in_flight, stats.is_running) == (0, 0, False)
    assert (stats.wait_p50, stats.wait_p95) == (0.0, 4.0)
    assert repr(registry.batches["batch"]) == "<Batcher 'batch': 4 requests in 2 batches>"
    assert registry.batches["batch"].row().state == "2.0 per batch"
    registry.reset()
    assert registry.batches["batch"].stats().total_requests == 0
    await gather(*each(send, "a", "b", "c"))
    assert registry.batches["batch"].stats().total_requests == 3


def test_the_signature_shows_one_item_and_one_result(registry):
    @batched(registry=registry)
    async def strings(texts: list[str], *, model: str = "m") -> list[float]: ...

    async def written(texts, model): ...

    written.__annotations__ = {"texts": list[int], "return": list[bytes]}

    class Client:
        @batched(registry=registry)
        async def embed(self, texts: list[str]) -> list[float]: ...

        @batched(registry=registry)
        @classmethod
        async def of_class(cls, texts: list[str]) -> list[float]: ...

    assert str(inspect.signature(strings)) == "(texts: 'str', *, model: 'str' = 'm') -> 'float'"
    assert inspect.signature(batched(registry=registry)(written)).parameters["texts"].annotation is int
    assert inspect.signature(batched(registry=registry)(written)).return_annotation is bytes
    assert str(inspect.signature(Client.embed)) == "(self, texts: 'str') -> 'float'"
    assert str(inspect.signature(Client().embed)) == "(texts: 'str') -> 'float'"
    assert str(inspect.signature(Client.of_class)) == "(texts: 'str') -> 'float'"
    assert inspect.iscoroutinefunction(strings)


def test_a_stream_is_refused():
    async def stream(texts):
        yield texts

    with pytest.raises(TypeError, match=r"stream is an async generator, and a stream cannot be dealt out"):
        batched(stream)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 2.0}, "batch_size must be an integer"),
        ({"batch_timeout": -1}, "batch_timeout must be a number of at least 0, got -1"),
        ({"max_queue_size": 0}, "max_queue_size must be an integer of at least 1"),
        ({"max_concurrency": 0}, "max_concurrency must be an integer of at least 1 or None"),
        ({"weight": len}, "weight and max_weight need each other"),
        ({"max_weight": 5}, "weight and max_weight need each other"),
        ({"weight": len, "max_weight": 0}, "max_weight must be a number above 0"),
        ({"group_by": "model"}, "group_by must be a plain callable or None, got 'model'"),
        ({"weight": 1, "max_weight": 1}, "weight must be a plain callable or None, got 1"),
        ({"group_by": gather}, "group_by must be a plain callable or None, got <function gather"),
        ({"weight": gather, "max_weight": 1}, "weight must be a plain callable or None, got <function gather"),
    ],
)
def test_a_bad_setting_is_refused_at_decoration(settings, said):
    with pytest.raises(ValueError, match=said):
        batched(**settings)


def test_one_name_with_other_settings_is_refused(registry):
    Recorder().batched(registry, batch_size=3)
    with pytest.raises(ValueError, match="batch_size 3 there, 4 here"):
        Recorder().batched(registry, batch_size=4)


def test_the_default_registry_knows_it():
    registry = Registry(listeners=())
    Recorder().batched(registry)

    assert list(registry.batches) == ["batch"]
