"""Whose error it is when a batch fails."""

from __future__ import annotations

import pytest

from resilient_ai import BatchResultError, ErrorType, register_classifier
from tests.batched.support import Recorder, each, gather


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
    assert (stats.ok, stats.failed) == (1, 3)


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


async def test_a_function_that_returns_a_stream_is_told_so_and_the_stream_is_closed(registry):
    ended = []

    async def tokens(items):
        try:
            for item in items:
                yield item
        finally:
            ended.append(items)

    send = Recorder(tokens).batched(registry, batch_size=1)
    (error,) = await gather(*each(send, "a"))

    assert type(error) is BatchResultError
    assert str(error).endswith("must return a list with one result per item, got a stream")
    assert ended == [["a"]]


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
