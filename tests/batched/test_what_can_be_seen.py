"""Context, numbers, events and signature of a batched function."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Collection, Iterable, Sequence

import pytest

from resilient_ai import Registry, batched
from resilient_ai.events import BatchSent
from tests.batched.support import Recorder, each, gather

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


@pytest.mark.parametrize(
    ("listed", "one"),
    [
        (Sequence[int], int),
        (Iterable[int], int),
        (Collection[int], int),
        (tuple[int, ...], int),
        ("typing.Iterable[dict[str, int]]", "dict[str, int]"),
        ("tuple[bytes, ...]", "bytes"),
        (tuple[int, str], tuple[int, str]),
        ("tuple[int, str]", "tuple[int, str]"),
        (dict[str, int], dict[str, int]),
    ],
)
def test_whatever_the_function_calls_its_list_one_item_is_shown(registry, listed, one):
    async def embed(texts, model): ...

    embed.__annotations__ = {"texts": listed, "return": listed}
    shown = inspect.signature(batched(registry=registry)(embed))

    assert shown.parameters["texts"].annotation == one
    assert shown.return_annotation == one


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
