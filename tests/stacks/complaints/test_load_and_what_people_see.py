"""What users of routers, SDKs and breakers complain about most, each as a promise; docstrings name public threads."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    CallTimeoutError,
    CircuitOpenError,
    CircuitState,
    Endpoint,
    ErrorType,
    Registry,
    batched,
    circuit_breaker,
    classified_retry,
    failover,
    watch,
)
from resilient_ai.providers import ProviderEndpoint
from resilient_ai.testing import Fault
from resilient_ai.types import EndpointState
from tests.stacks.complaints.support import EU, US, StatusError


async def test_retries_do_not_multiply(openai, us):
    """BerriAI/litellm#34129: (1 + n) squared requests."""
    registry = Registry(rng=random.Random(1), listeners=())

    @classified_retry(max_attempts=3, registry=registry)
    @failover(openai, registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    us.outage(Fault.reply(500, "", {"retry-after-ms": "1"}))
    with pytest.raises(AIServiceError):
        await ask("hi")

    assert us.count("/chat/completions") == 3


async def test_a_wait_that_the_provider_names_is_kept_and_one_of_two_days_is_not_slept(scripted, clock, registry):
    """googleapis/python-genai#1875: ignored; earendil-works/pi#3671: `retry-after: 198300` hung the client."""
    call, _, _ = scripted(retry=True, us=StatusError(429, "slow down", 198_300), eu="eu")

    assert await call() == "eu"
    assert clock.now() == 0
    assert registry.endpoints["us"].stats().resting_for == 3_600  # no server dictates more than an hour
    alone, _, _ = scripted(retry=True, endpoints=(US,), name="alone", us=StatusError(429, "slow down", 198_300))
    with pytest.raises(AIServiceError, match="asks to wait 198300"):
        await alone()


async def test_an_unreachable_endpoint_is_left_alone_for_a_while(scripted):
    """BerriAI/litellm#27610: never cooled down, 12 connects for 12 calls."""
    call, asked, _ = scripted(us=OSError("unreachable"), eu="eu")
    for _ in range(12):
        await call()

    assert asked.count("us") == 1


async def test_one_failure_in_many_takes_no_endpoint_out(scripted, registry):
    """BerriAI/litellm#17464: one of one is not a hundred per cent of many."""
    call, _, outcomes = scripted(us="us", eu="eu")
    for _ in range(50):
        await call()
    outcomes["us"] = OSError("a moment's trouble")
    await call()
    outcomes["us"] = "us"

    assert await call() == "us"


async def test_a_longer_rest_is_never_replaced_by_a_shorter_one(registry, clock):
    """BerriAI/litellm#40130."""
    waits, hold = iter([5.0, 300.0]), anyio.Event()

    @failover(US, EU, strategy="priority", registry=registry)
    async def call(endpoint: Endpoint) -> str:
        if endpoint is US:
            wait = next(waits)
            if wait == 5.0:
                await hold.wait()
            raise StatusError(429, "slow_down", wait)
        return endpoint.name

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await call()
        hold.set()

    assert registry.endpoints["us"].stats().resting_for == 300


async def test_when_every_endpoint_rests_calls_are_still_tried(scripted):
    """BerriAI/litellm#3646: failed at once while all were cooling down."""
    call, _, outcomes = scripted(us=OSError("down"), eu=OSError("down"))
    with pytest.raises(AllEndpointsFailedError):
        await call()
    outcomes["us"] = "back"

    assert await call() == "back"


async def test_every_key_is_tried_although_a_retry_allows_fewer_attempts(scripted):
    """maximhq/bifrost#5876: rotation of keys was bounded by the number of retries."""
    keys = tuple(Endpoint(f"key-{number}") for number in range(6))
    refused = {key.name: StatusError(401, "invalid_api_key") for key in keys[:-1]}
    call, asked, _ = scripted(retry=True, endpoints=keys, **refused, **{"key-5": "answer"})

    assert await call() == "answer"
    assert len(asked) == 6


async def test_a_call_that_must_not_be_paid_twice_is_not_repeated_after_a_timeout(scripted):
    """Comfy-Org/ComfyUI#16204: 732 resubmitted in seven days, 426 of them billed."""
    call, asked, _ = scripted(idempotent=False, us=TimeoutError(), eu="eu")
    with pytest.raises(TimeoutError):
        await call()

    assert asked == ["us"]


async def test_a_timeout_is_total_and_not_per_read(registry, clock):
    """openai/openai-python#2599."""

    @circuit_breaker(timeout_seconds=30, registry=registry)
    async def drip() -> None:
        while True:
            await clock.sleep(9)

    async with clock.autojump():
        with pytest.raises(CallTimeoutError):
            await drip()

    assert clock.now() == 30


async def test_a_slow_call_is_hedged(registry, clock):
    """pydantic/pydantic-ai#4455."""

    @failover(US, EU, strategy="priority", hedge_after=1, registry=registry)
    async def ask(endpoint: Endpoint) -> str:
        await clock.sleep(60 if endpoint is US else 0.5)
        return endpoint.name

    async with clock.autojump():
        answer = await ask()

    assert (answer, clock.now()) == ("eu", 1.5)


async def test_a_cancelled_call_is_nobodys_failure(openai, us, registry):
    """BerriAI/litellm#42222."""

    @failover(openai, registry=registry)
    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    us.script(Fault.stall())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "hi")
        await us.until(lambda it: it.in_flight)
        tasks.cancel_scope.cancel()
    await us.until(lambda it: it.disconnects == 1)

    assert registry.circuit_breakers["c[us]"].state is CircuitState.CLOSED
    assert registry.endpoints["us"].stats().state is EndpointState.UP


async def test_one_bad_item_fails_alone(registry, clock):
    """kenn-io/agentsview#1356: the same oversized batch was rebuilt for ever."""

    @batched(batch_size=4, batch_timeout=0.01, bisect=True, registry=registry)
    async def embed(texts: list[str]) -> list[str]:
        if "poison" in texts:
            raise StatusError(400, "context_length_exceeded")
        return [text.upper() for text in texts]

    results: dict[str, object] = {}

    async def one(text: str) -> None:
        try:
            results[text] = await embed(text)
        except StatusError as error:
            results[text] = type(error)

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for text in ("a", "poison", "b", "c"):
            tasks.start_soon(one, text)

    assert results == {"a": "A", "poison": StatusError, "b": "B", "c": "C"}


async def test_the_fastest_endpoint_does_not_draw_the_whole_crowd(registry, clock):
    """BerriAI/litellm#37622: least busy herded onto one."""
    endpoints = [Endpoint(name) for name in ("fast", "fine", "good")]
    seconds = {"fast": 1.0, "fine": 1.1, "good": 1.2}
    asked: Counter[str] = Counter()

    @failover(*endpoints, strategy="least_latency", registry=registry)
    async def ask(endpoint: Endpoint) -> None:
        asked[endpoint.name] += 1
        await clock.sleep(seconds[endpoint.name])

    async with clock.autojump():
        for _ in range(4):
            async with anyio.create_task_group() as tasks:
                for _ in range(60):
                    tasks.start_soon(ask)

    assert max(asked.values()) <= 0.5 * asked.total()
    assert min(asked.values()) >= 0.2 * asked.total()


async def test_a_refusal_says_who_why_and_until_when(registry):
    """juspay/neurolink#899: agents looped against an open breaker, because its text told them nothing."""

    @failover(US, EU, registry=registry)
    @circuit_breaker("chat", failure_threshold=1, recovery_timeout=20, registry=registry)
    async def ask(endpoint: Endpoint) -> str:
        raise OSError("down")

    for _ in range(2):
        with pytest.raises(AllEndpointsFailedError) as failed:
            await ask()
    refusal = failed.value.errors["us"]

    assert isinstance(refusal, CircuitOpenError)
    assert str(refusal) == "circuit 'chat[us]' is open; next probe allowed in 20.0 s"
    assert (failed.value.error_type, failed.value.retry_after) == (ErrorType.CIRCUIT_OPEN, 20)


async def test_a_late_success_does_not_bring_back_an_endpoint_that_has_failed_since(registry):
    """BerriAI/litellm#39701."""
    hold = anyio.Event()

    @failover(US, EU, strategy="priority", registry=registry)
    async def ask(endpoint: Endpoint, kind: str) -> str:
        if kind == "slow":
            await hold.wait()
        elif endpoint is US:
            raise OSError("down")
        return endpoint.name

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "slow")
        await anyio.wait_all_tasks_blocked()
        await ask("quick")
        hold.set()

    assert registry.endpoints["us"].stats().state is EndpointState.RESTING


async def test_what_a_failover_does_can_be_inspected(ask, us, registry):
    """Portkey-AI/gateway#1289: a breaker that never opened and that nobody could look into."""
    us.outage("overloaded")
    with watch() as seen:
        await ask("hi")

    assert seen.endpoints_tried == ("us", "eu")
    assert registry.failovers["regions"].stats().endpoints["us"].last_error_type is ErrorType.MODEL_OVERLOADED
    assert "resting" in repr(registry)
