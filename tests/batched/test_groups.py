"""Which calls may share a batch."""

from __future__ import annotations

import functools
import gc
import weakref

from resilient_ai import batched
from tests.batched.support import Recorder, each, gather


async def advance(clock):
    clock.advance(1)


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


async def test_arguments_that_are_too_deep_to_be_compared_group_by_identity(registry):
    calls = []
    deep, itself = ["deep"], ["a list"]
    for _ in range(2_000):
        deep = [deep]
    itself.append(itself)

    @batched(batch_size=2, registry=registry)
    async def embed(texts: list[str], options: object) -> list[str]:
        calls.append(texts)
        return texts

    await gather(
        lambda: embed("a", deep),
        lambda: embed("b", itself),
        lambda: embed("c", options=deep),
        lambda: embed("d", itself),
    )

    assert calls == [["a", "c"], ["b", "d"]]


async def test_an_argument_is_the_same_for_a_group_only_if_its_types_are_however_deep_they_lie(registry):
    calls = []

    @batched(batch_size=2, registry=registry)
    async def embed(texts: list[str], sizes: tuple[object, ...]) -> list[str]:
        calls.append(texts)
        return texts

    await gather(
        lambda: embed("a", (1, 0)),
        lambda: embed("b", (True, False)),
        lambda: embed("c", (1, 0)),
        lambda: embed("d", (True, False)),
    )

    assert calls == [["a", "c"], ["b", "d"]]


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
