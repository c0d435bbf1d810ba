"""What users of routers, SDKs and breakers complain about most, each as a promise; docstrings name public threads."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import aclosing

import anyio
import pytest

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    CallTimeoutError,
    CircuitOpenError,
    CircuitState,
    Endpoint,
    EndpointState,
    ErrorType,
    Registry,
    StreamTruncatedError,
    batched,
    circuit_breaker,
    classified_retry,
    classify,
    failover,
    watch,
)
from resilient_ai.providers import AnthropicEndpoint, OpenAIEndpoint, ProviderEndpoint
from resilient_ai.testing import Fault

US, EU = Endpoint("us"), Endpoint("eu")


class StatusError(Exception):
    """A reply's status and body, as SDK errors carry them."""

    def __init__(self, status: int, code: str = "", retry_after: float | None = None, message: str = "") -> None:
        super().__init__(code)
        self.status_code = status
        self.body = {"error": {"code": code, "message": message}}
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}


@pytest.fixture
async def openai(us):
    async with OpenAIEndpoint("us", model="gpt-4o-mini", api_key="sk-none", base_url=us.base_url) as endpoint:
        yield endpoint


@pytest.fixture
async def claude(eu):
    async with AnthropicEndpoint("eu", model="claude-haiku-4-5", api_key="sk-none", base_url=eu.url) as endpoint:
        yield endpoint


@pytest.fixture
def ask(openai, claude, registry):
    @failover(openai, claude, name="regions", strategy="priority", registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str, **params: object) -> str:
        return await endpoint.complete(prompt, **params)

    return ask


@pytest.fixture
def tokens(openai, claude, registry):
    @failover(openai, claude, name="streams", strategy="priority", registry=registry)
    async def tokens(endpoint: ProviderEndpoint, prompt: str):
        async with aclosing(endpoint.stream(prompt)) as pieces:
            async for piece in pieces:
                yield piece

    return tokens


@pytest.fixture
def scripted(registry):
    """`scripted(us=error, eu="answer")`: a failover over endpoints that raise or answer, and who was asked."""

    def make(*, retry: bool = False, endpoints=(US, EU), **settings):
        outcomes = {key: settings.pop(key) for key in list(settings) if key in {each.name for each in endpoints}}
        asked: list[str] = []

        async def fn(endpoint) -> str:
            asked.append(endpoint.name)
            await anyio.lowlevel.checkpoint()
            outcome = outcomes[endpoint.name]
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        call = failover(*endpoints, **{"strategy": "priority", "registry": registry, **settings})(fn)
        return (classified_retry(registry=registry)(call) if retry else call), asked, outcomes

    return make


# -- streams


@pytest.mark.parametrize("fault", [Fault.reset(), "overloaded", Fault.in_stream("openai_server_error", after_items=0)])
async def test_streams_fall_back_too(tokens, us, fault):
    """BerriAI/litellm#6957, #40404; vercel/ai#18667."""
    us.script(fault)

    assert [piece async for piece in tokens("a b")] == ["[eu]", " a", " b"]


async def test_what_the_consumer_has_seen_is_never_sent_again(tokens, us):
    """zirkelc/ai-retry#51: the beginning printed twice."""
    us.script(Fault.reset(after_items=2))
    got = []
    with pytest.raises(Exception):  # noqa: B017 - the SDK's own
        async for piece in tokens("a b c"):
            got.append(piece)  # noqa: PERF401 - the items before the error matter

    assert got == ["[us]", " a"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("anthropic_overloaded", ErrorType.MODEL_OVERLOADED),
        ("anthropic_rate_limit", ErrorType.RATE_LIMIT),
        ("anthropic_insufficient_quota", ErrorType.QUOTA_EXCEEDED),
    ],
)
async def test_an_error_inside_a_200_is_taken_for_what_it_is(claude, eu, reply, kind):
    """anthropics/anthropic-sdk-python#1918."""
    eu.script(Fault.in_stream(reply, after_items=0))
    with pytest.raises(Exception) as caught:
        await anext(claude.stream("hi"))

    assert classify(caught.value).error_type is kind


async def test_a_stream_that_is_cut_off_cleanly_is_no_success(tokens, us, registry):
    """Portkey-AI/gateway#1797; decolua/9router#3242."""
    us.script(Fault.cut(after_items=2))
    with pytest.raises(StreamTruncatedError):
        [piece async for piece in tokens("a b c")]

    assert registry.endpoints["us"].stats().failures == 1


async def test_an_abandoned_stream_leaks_no_connection(tokens, us):
    """openai/openai-python#763, #2539."""
    us.item_seconds = 0.02
    for _ in range(5):
        async with aclosing(tokens("a b c d e f")) as stream:
            await anext(stream)

    await us.until(lambda it: it.disconnects == 5 and it.connections == 0)


# -- which error it is


async def test_a_used_up_quota_is_asked_once_and_not_retried_as_a_rate_limit(openai, us, registry):
    """langchain-ai/langchainjs#1929; openai/openai-python#3507."""

    @classified_retry(registry=registry)
    @failover(openai, registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    us.outage("insufficient_quota")
    with pytest.raises(AIServiceError) as failed:
        await ask("hi")

    assert us.count() == 1
    assert failed.value.error_type is ErrorType.QUOTA_EXCEEDED


async def test_a_spend_limit_that_comes_as_a_400_moves_on_and_rests_long(claude, openai, eu, registry):
    """BerriAI/litellm#37599."""

    @failover(claude, openai, strategy="priority", registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    eu.script("anthropic_spend_limit")

    assert await ask("hi") == "[us] hi"
    assert registry.endpoints["eu"].stats().resting_for >= 600


async def test_a_number_in_a_message_decides_nothing(scripted):
    """BerriAI/litellm#36705: "429" inside a token id."""
    call, asked, _ = scripted(us=StatusError(400, message="unknown field 'rate_limit' near 84297"), eu="eu")
    with pytest.raises(StatusError):
        await call()

    assert asked == ["us"]


@pytest.mark.parametrize("code", ["invalid_request_error", "context_length_exceeded"])
async def test_callers_mistakes_open_no_circuit_and_rest_no_endpoint(registry, code):
    """sgl-project/sglang#25811: oversized prompts took a whole fleet down."""

    @failover(US, registry=registry)
    @circuit_breaker("c", failure_threshold=1, registry=registry)
    async def ask(endpoint: Endpoint) -> str:
        raise StatusError(400, code)

    for _ in range(10):
        with pytest.raises(StatusError):
            await ask()

    assert registry.circuit_breakers["c[us]"].state is CircuitState.CLOSED
    assert registry.endpoints["us"].stats().state is EndpointState.UP


async def test_a_prompt_that_is_too_long_goes_to_a_larger_context_window(scripted):
    """BerriAI/litellm#10793."""
    small, large = Endpoint("small", context_window=8_000), Endpoint("large", context_window=200_000)
    call, asked, _ = scripted(endpoints=(small, large), small=StatusError(400, "context_length_exceeded"), large="ok")

    assert await call() == "ok"
    assert asked == ["small", "large"]


async def test_nobody_listening_on_the_port_falls_back(openai, claude, us, registry):
    """pydantic/pydantic-ai#3439; googleapis/python-genai#2337."""

    @failover(openai, claude, strategy="priority", registry=registry)
    async def ask(endpoint: ProviderEndpoint, prompt: str) -> str:
        return await endpoint.complete(prompt)

    us.close()

    assert await ask("hi") == "[eu] hi"


async def test_errors_are_raised_and_not_turned_into_answers(scripted):
    """langchain-ai/langchain#38893: a middleware that returned a message instead."""
    call, _, _ = scripted(us=OSError("down"), eu=OSError("down"))
    with pytest.raises(AllEndpointsFailedError):
        await call()


# -- how often, and how long


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
    assert registry.endpoints["us"].stats().resting_for == 198_300
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


# -- breakers, batches and what people see


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
