"""`@batched` under and over every other decorator: one item above it, one list below it."""

from __future__ import annotations

import inspect
import warnings

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    AIServiceError,
    CircuitState,
    Endpoint,
    ErrorType,
    QueueFullError,
    StackOrderWarning,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    watch,
)
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")


async def gather(*calls):
    """Outcomes of calls made at once; exceptions among them."""
    outcomes = [None] * len(calls)

    async def run(number, call):
        try:
            outcomes[number] = await call
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(run, number, call)
    return outcomes


def scripted(*outcomes):
    """A batch function that gives one outcome per call, the last for ever: an error is raised, None answers."""
    left = list(outcomes)

    async def send(items: list[str]) -> list[str]:
        send.calls.append(items)
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if outcome is not None:
            raise outcome
        return [f"<{item}>" for item in items]

    send.calls = []
    return send


OVERLOADED = ProviderError(ErrorType.MODEL_OVERLOADED)


async def test_a_retry_below_sends_one_batch_again_and_not_one_item_each(registry, clock):
    provider = scripted(OVERLOADED, OVERLOADED, None)
    send = batched(batch_size=3, registry=registry)(classified_retry("retry", registry=registry)(provider))
    async with clock.autojump():
        results = await gather(send("a"), send("b"), send("c"))

    assert sorted(results) == ["<a>", "<b>", "<c>"]
    assert [len(call) for call in provider.calls] == [3, 3, 3]
    assert registry.retries["retry"].stats().retries == 2


async def test_a_retry_above_puts_the_items_of_a_failed_batch_together_again(registry, clock):
    provider = scripted(OVERLOADED, None)
    send = batched(batch_size=3, batch_timeout=60, registry=registry)(provider)
    ask = classified_retry("retry", registry=registry)(send)
    async with clock.autojump():
        results = await gather(ask("a"), ask("b"), ask("c"))

    assert sorted(results) == ["<a>", "<b>", "<c>"]
    assert [len(call) for call in provider.calls] == [3, 3]
    assert registry.retries["retry"].stats().retries == 3


async def test_a_circuit_below_counts_a_failed_batch_once(registry):
    send = batched(batch_size=3, registry=registry)(
        circuit_breaker("circuit", failure_threshold=2, registry=registry)(scripted(OVERLOADED))
    )
    await gather(send("a"), send("b"), send("c"))
    assert registry.circuit_breakers["circuit"].stats().total_failures == 1
    await gather(send("a"), send("b"), send("c"))

    assert registry.circuit_breakers["circuit"].state is CircuitState.OPEN


async def test_a_circuit_above_counts_every_caller_and_so_there_is_a_warning(registry):
    with pytest.warns(StackOrderWarning, match="counts one failed call once per waiter"):
        ask = circuit_breaker("circuit", failure_threshold=3, registry=registry)(
            batched(batch_size=3, registry=registry)(scripted(OVERLOADED))
        )
    await gather(ask("a"), ask("b"), ask("c"))

    assert registry.circuit_breakers["circuit"].state is CircuitState.OPEN


async def test_a_circuits_refusal_and_a_full_queue_are_every_callers_own(registry):
    send = batched(batch_size=2, registry=registry)(circuit_breaker("circuit", registry=registry)(scripted(None)))
    registry.circuit_breakers["circuit"].force_open()
    first, second = await gather(send("a"), send("b"))

    assert type(first) is type(second)
    assert first is not second
    assert (str(first), first.retry_after, first.timestamp) == (str(second), second.retry_after, second.timestamp)


async def test_a_failover_below_gets_the_whole_batch_and_moves_on_with_it(registry):
    calls = []

    @batched(batch_size=2, registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    @circuit_breaker(registry=registry)
    async def send(endpoint: Endpoint, items: list[str], *, model: str = "m") -> list[str]:
        calls.append((endpoint.name, sorted(items), model))
        if endpoint.name == "us":
            raise OVERLOADED
        return [f"<{item}>" for item in items]

    results = await gather(send("a", model="x"), send("b", model="x"))

    assert sorted(results) == ["<a>", "<b>"]
    assert calls == [("us", ["a", "b"], "x"), ("eu", ["a", "b"], "x")]
    assert str(inspect.signature(send)) == "(items: 'str', *, model: 'str' = 'm') -> 'str'"


async def test_a_failover_above_batches_for_each_endpoint_apart(registry):
    calls = []

    @failover(Endpoint("us"), Endpoint("eu"), strategy="round_robin", registry=registry)
    @batched(batch_size=2, registry=registry)
    async def send(endpoint: Endpoint, items: list[str], model: str = "m") -> list[str]:
        calls.append((endpoint.name, len(items)))
        return [f"<{item}>" for item in items]

    results = await gather(*(send(item, model="m") for item in "abcd"))

    assert sorted(results) == ["<a>", "<b>", "<c>", "<d>"]
    assert sorted(calls) == [("eu", 2), ("us", 2)]
    assert str(inspect.signature(send)) == "(items: 'str', model: 'str' = 'm') -> 'str'"
    assert len(registry.batches) == 2


async def test_a_degrade_above_answers_for_each_item(registry):
    ask = degrade_to(lambda call: f"no {call.args[0]}", registry=registry)(
        batched(batch_size=2, registry=registry)(scripted(OVERLOADED))
    )

    assert sorted(await gather(ask("a"), ask("b"))) == ["no a", "no b"]
    assert len(registry.degradations) == 1


async def test_an_adaptive_limit_below_counts_one_call_for_a_batch(registry):
    provider = scripted(None)
    send = batched(batch_size=4, registry=registry)(adaptive_limit("limit", initial=1, registry=registry)(provider))

    assert sorted(await gather(*map(send, "abcd"))) == ["<a>", "<b>", "<c>", "<d>"]
    assert len(provider.calls) == 1


async def test_a_retry_that_gives_up_below_tells_bisect_what_was_wrong(registry):
    async def picky(items: list[str]) -> list[str]:
        calls.append(items)
        if "bad" in items:
            raise ProviderError(ErrorType.CONTENT_FILTER)
        return items

    calls = []
    send = batched(batch_size=4, bisect=True, registry=registry)(classified_retry(registry=registry)(picky))
    results = await gather(*map(send, ["a", "bad", "c", "d"]))

    assert [result for result in results if isinstance(result, str)] == ["a", "c", "d"]
    assert isinstance(results[1], AIServiceError)
    assert results[1].error_type is ErrorType.CONTENT_FILTER
    assert len(calls) == 5


async def test_all_six_stack_without_a_warning_and_describe_shows_them(registry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @degrade_to("sorry", registry=registry)
        @batched(batch_size=2, registry=registry)
        @classified_retry(registry=registry)
        @failover(Endpoint("us"), registry=registry)
        @circuit_breaker(registry=registry)
        @adaptive_limit(registry=registry)
        async def send(endpoint: Endpoint, items: list[str]) -> list[str]:
            return items

    assert sorted(await gather(send("a"), send("b"))) == ["a", "b"]
    layer = describe(send).layers[1]
    assert (layer.kind, layer.settings["batch_size"]) == ("batched", 2)
    assert "2.0 per batch" in repr(send)


async def test_every_caller_that_watches_hears_of_its_own_batch(registry, clock):
    @batched(batch_size=2, registry=registry)
    @classified_retry(registry=registry)
    @failover(Endpoint("us"), Endpoint("eu"), strategy="priority", registry=registry)
    async def send(endpoint: Endpoint, items: list[str]) -> list[str]:
        if endpoint.name == "us" and "c" not in items:
            raise OVERLOADED
        return items

    facts = {}

    async def ask(item, *, watched=True):
        if not watched:
            await send(item)
            return
        with watch() as seen:
            await send(item)
        facts[item] = seen.endpoint, seen.endpoints_tried, seen.attempts

    async with clock.autojump():
        await gather(ask("a"), ask("b"))
        await gather(ask("unseen", watched=False), ask("x"))

    assert facts["a"] == facts["b"] == ("eu", ("us", "eu"), 1)
    assert facts["x"][0] == "eu"


async def test_each_half_of_a_refused_batch_is_told_to_its_own_callers(registry):
    @batched(batch_size=2, bisect=True, registry=registry)
    @classified_retry(registry=registry)
    async def send(items: list[str]) -> list[str]:
        if "bad" in items:
            raise ProviderError(ErrorType.INVALID_REQUEST)
        return items

    attempts = {}

    async def ask(item):
        with watch() as seen:
            try:
                await send(item)
            finally:
                attempts[item] = seen.attempts

    await gather(ask("good"), ask("bad"))

    assert attempts == {"good": 2, "bad": 2}  # the whole, and its half


async def test_a_full_queue_is_what_a_degrade_above_answers(registry):
    gate = anyio.Event()

    async def slow(items: list[str]) -> list[str]:
        await gate.wait()
        return items

    send = batched(batch_size=1, max_concurrency=1, max_queue_size=1, registry=registry)(slow)
    ask = degrade_to("busy", registry=registry)(send)
    outcomes = []

    async def call(item):
        outcomes.append(await ask(item))
        if outcomes == ["busy"]:
            gate.set()

    async with anyio.create_task_group() as tasks:
        for item in "abc":
            tasks.start_soon(call, item)

    assert outcomes[0] == "busy"
    assert len(outcomes) == 3
    assert not isinstance(outcomes[1], QueueFullError)
