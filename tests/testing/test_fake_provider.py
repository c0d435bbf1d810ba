"""A provider on loopback that real SDKs cannot tell from the real ones, until it is told to fail."""

from __future__ import annotations

import threading

import anthropic
import anyio
import httpx2
import openai
import pytest

from resilient_ai import ErrorType, classify
from resilient_ai.testing import FakeProvider, Fault, VirtualClock, fault_names

QUESTION = [{"role": "user", "content": "where is the moon"}]


@pytest.fixture
def provider():
    with FakeProvider("moon") as provider:
        yield provider


@pytest.fixture
async def chat(provider):
    """Ask through the openai SDK."""
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-planted", max_retries=0) as client:

        async def ask(**params):
            return await client.chat.completions.create(model="gpt-4o-mini", messages=QUESTION, **params)

        yield ask


@pytest.fixture
async def claude(provider):
    """Ask through the anthropic SDK."""
    async with anthropic.AsyncAnthropic(base_url=provider.url, api_key="sk-planted", max_retries=0) as client:

        async def ask(**params):
            return await client.messages.create(
                model="claude-haiku-4-5", messages=QUESTION, **{"max_tokens": 50, **params}
            )

        yield ask


async def text_of(stream) -> str:
    """What an openai stream said, as far as it came."""
    async with stream:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def events_of(stream) -> list[str]:
    async with stream:
        return [event.type async for event in stream]


async def test_the_openai_sdk_gets_an_answer_that_depends_on_the_question_alone(chat):
    first, second = await chat(), await chat()

    assert first.choices[0].message.content == "[moon] where is the moon"
    assert first.usage.completion_tokens == 5
    assert first == second


async def test_the_anthropic_sdk_gets_an_answer(claude):
    message = await claude()

    assert message.content[0].text == "[moon] where is the moon"
    assert message.stop_reason == "end_turn"


async def test_both_sdks_get_streams(chat, claude):
    assert await text_of(await chat(stream=True)) == "[moon] where is the moon"
    assert (await events_of(await claude(stream=True)))[-1] == "message_stop"


async def test_max_tokens_cuts_the_answer_and_says_so(chat, claude):
    answer, message = await chat(max_tokens=2), await claude(max_tokens=2)

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("[moon] where", "length")
    assert (message.content[0].text, message.stop_reason) == ("[moon] where", "max_tokens")


async def test_a_stream_tells_its_usage_when_asked(chat):
    async with await chat(stream=True, stream_options={"include_usage": True}) as stream:
        chunks = [chunk async for chunk in stream]

    assert chunks[-1].usage.total_tokens == 9


async def test_embeddings_are_near_each_other_when_texts_share_words(provider):
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-planted", max_retries=0) as client:
        reply = await client.embeddings.create(model="any", input=["the red cat", "a red cat", "tax law"])
    one, near, far = (each.embedding for each in reply.data)

    def cosine(left, right):
        return sum(x * y for x, y in zip(left, right, strict=True))

    assert cosine(one, one) == pytest.approx(1)
    assert cosine(one, near) > 0.5 > cosine(one, far)


async def test_models_can_be_listed_and_asked_for(provider):
    async with (
        openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-planted") as gpt,
        anthropic.AsyncAnthropic(base_url=provider.url, api_key="sk-planted") as claude,
    ):
        assert [model.id async for model in gpt.models.list()] == ["gpt-4o-mini"]
        assert (await gpt.models.retrieve("any")).id == "any"
        assert [model.id async for model in claude.models.list()] == ["claude-haiku-4-5"]
        assert (await claude.models.retrieve("any")).id == "any"
        assert (await claude.messages.count_tokens(model="any", messages=QUESTION)).input_tokens == 4


async def test_wrong_requests_are_refused_like_at_the_real_ones(provider, claude):
    async with httpx2.AsyncClient(base_url=provider.url) as client:
        no_model = await client.post("/v1/chat/completions", json={"messages": QUESTION})
        no_json = await client.post("/v1/chat/completions", content=b"{")
        nowhere = await client.post("/v1/nowhere", json={})
        no_text = await client.post("/v1/embeddings", json={"input": [""]})
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required"):
        await claude(max_tokens=0)

    assert [each.status_code for each in (no_model, no_json, nowhere, no_text)] == [400, 400, 404, 400]
    assert "'model'" in no_model.json()["error"]["message"]


async def test_a_plain_http_endpoint_is_spoken_too(provider):
    async with httpx2.AsyncClient() as client:
        reply = await client.post(f"{provider.url}/complete", json={"prompt": "hi"})
        stream = await client.post(f"{provider.url}/complete", json={"prompt": "hi", "stream": True})

    assert reply.json() == {"content": "[moon] hi"}
    assert stream.text.endswith("data: [DONE]\n\n")


async def test_a_script_is_played_one_fault_per_request(provider, chat):
    provider.script("openai_rate_limit", "ok", 503)
    with pytest.raises(openai.RateLimitError):
        await chat()
    await chat()
    with pytest.raises(openai.InternalServerError):
        await chat()
    await chat()

    assert [each.fault for each in provider.requests] == ["openai_rate_limit", None, "status 503", None]


@pytest.mark.parametrize("name", [name for name in fault_names() if "gateway" not in name])
async def test_every_named_fault_is_classified_as_what_its_name_says(provider, chat, claude, name):
    kinds = {
        "rate_limit_daily": "rate_limit",
        "ramp_limit": "rate_limit",
        "insufficient_quota": "quota_exceeded",
        "spend_limit": "quota_exceeded",
        "overloaded": "model_overloaded",
        "overloaded_retry_after": "model_overloaded",
        "server_error": "internal_error",
        "invalid_key": "authentication",
        "model_not_found": "not_found",
    }
    owner, _, kind = name.partition("_")
    provider.script(name)
    with pytest.raises((openai.APIError, anthropic.APIError)) as caught:
        await (claude() if owner == "anthropic" else chat())

    assert classify(caught.value).error_type == kinds.get(kind, kind)


async def test_a_name_without_provider_fits_the_api_that_was_asked(provider, chat, claude):
    provider.script("overloaded", "overloaded", "gateway_timeout")
    with pytest.raises(openai.InternalServerError) as openai_error:
        await chat()
    with pytest.raises(anthropic.APIStatusError) as anthropic_error:
        await claude()
    with pytest.raises(anthropic.APIStatusError):
        await claude()

    assert openai_error.value.status_code == 503
    assert anthropic_error.value.status_code == 529


async def test_moments_in_headers_lie_in_the_future(provider, claude):
    provider.script("anthropic_rate_limit")
    with pytest.raises(anthropic.RateLimitError) as caught:
        await claude()

    assert caught.value.response.headers["anthropic-ratelimit-requests-reset"].startswith("20")
    assert classify(caught.value).retry_after == pytest.approx(32, abs=2)


async def test_a_reset_is_a_connection_error(provider, chat):
    provider.script(Fault.reset())
    with pytest.raises(openai.APIConnectionError) as caught:
        await chat()

    assert classify(caught.value).error_type is ErrorType.NETWORK_ERROR


async def test_a_cut_stream_looks_like_a_short_answer(provider, chat, claude):
    provider.script(Fault.cut(after_items=2), Fault.cut(after_items=1))

    assert await text_of(await chat(stream=True)) == "[moon] where"
    assert "message_stop" not in await events_of(await claude(stream=True))


@pytest.mark.parametrize("fault", [Fault.tear(after_items=1), Fault.reset(after_items=1)], ids=lambda fault: fault.name)
async def test_a_stream_that_breaks_off_is_an_error_after_its_first_item(provider, chat, fault):
    provider.script(fault)
    with pytest.raises((openai.APIConnectionError, httpx2.TransportError)):
        await text_of(await chat(stream=True))

    assert provider.requests[0].items == 1


@pytest.mark.parametrize("fault", [Fault.cut(), Fault.tear()], ids=lambda fault: fault.name)
async def test_a_plain_reply_can_lose_its_tail(provider, chat, fault):
    provider.script(fault)
    with pytest.raises(openai.APIConnectionError):
        await chat()


async def test_an_error_can_come_inside_a_stream(provider, chat, claude):
    provider.script(Fault.in_stream("openai_overloaded"), Fault.in_stream("anthropic_overloaded"))
    with pytest.raises(openai.APIError) as openai_error:
        await text_of(await chat(stream=True))
    with pytest.raises(anthropic.APIStatusError) as anthropic_error:
        await events_of(await claude(stream=True))

    assert classify(openai_error.value).error_type is ErrorType.MODEL_OVERLOADED
    assert classify(anthropic_error.value).error_type is ErrorType.MODEL_OVERLOADED


async def test_a_stall_lasts_until_the_client_leaves(provider, chat):
    provider.script(Fault.stall())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chat)
        await provider.until(lambda it: it.in_flight == 1)
        tasks.cancel_scope.cancel()
    await provider.until(lambda it: it.disconnects == 1)

    assert provider.requests[0].state == "left"


async def test_a_client_that_leaves_a_stream_is_noticed(provider, chat):
    provider.script(Fault.stall(after_items=1))
    async with await chat(stream=True) as stream:
        async for _ in stream:
            break
    await provider.until(lambda it: it.disconnects == 1)

    assert provider.requests[0].items == 1


async def test_an_outage_lasts_until_told(provider, chat):
    with provider.outage("openai_overloaded"):
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await chat()
    await chat()
    provider.outage()
    provider.recover()
    await chat()


async def test_an_outage_follows_its_schedule_on_the_clock():
    clock = VirtualClock()
    faults = []
    with FakeProvider(clock=clock) as provider:
        provider.outage("server_error", after=10, seconds=5)
        async with httpx2.AsyncClient() as client:
            for seconds in (0, 9.9, 0.1, 4.9, 0.1):
                clock.advance(seconds)
                faults.append((await client.get(f"{provider.base_url}/models")).status_code)

    assert faults == [200, 200, 500, 500, 200]


async def test_chance_repeats_with_its_seed():
    async def faults(seed: int) -> list[str | None]:
        with FakeProvider() as provider:
            provider.flaky(0.5, "rate_limit", 503, seed=seed)
            async with httpx2.AsyncClient() as client:
                for _ in range(20):
                    await client.post(f"{provider.url}/complete", json={"prompt": "hi"})
            return [each.fault for each in provider.requests]

    assert await faults(1) == await faults(1) != await faults(2)
    assert {None, "openai_rate_limit", "status 503"} == set(await faults(1))


async def test_delays_are_on_top_of_the_answer(provider, chat):
    provider.latency = 0.001
    provider.item_seconds = 0.001
    provider.script(Fault.slow(0.02))
    before = anyio.current_time()
    await chat()

    assert anyio.current_time() - before >= 0.02
    assert await text_of(await chat(stream=True)) == "[moon] where is the moon"


async def test_requests_are_kept_as_data_and_keys_are_not(provider, chat):
    await chat(temperature=0.5)
    (request,) = provider.requests

    assert request.body["temperature"] == 0.5
    assert request.headers["authorization"] == "[secret]"
    assert "planted" not in str(request.headers)
    assert "moon" not in repr(request)
    assert provider.prompts == ["where is the moon"]
    assert provider.count("/chat/completions") == provider.count() == 1
    provider.forget()
    assert provider.requests == ()


async def test_requests_of_a_pool_share_connections_and_the_end_closes_them(provider, chat):
    for _ in range(3):
        await chat()

    assert provider.connections == 1


async def test_chunked_requests_are_read(provider):
    async def body():
        yield b'{"prompt": '
        yield b'"hi"}'

    async with httpx2.AsyncClient() as client:
        reply = await client.post(f"{provider.url}/complete", content=body())

    assert reply.json() == {"content": "[moon] hi"}


async def test_several_threads_with_loops_of_their_own_talk_to_one_provider(provider):
    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            await client.post(f"{provider.url}/complete", json={"prompt": "hi"})

    threads = [
        threading.Thread(target=anyio.run, args=(ask,), kwargs={"backend": backend}) for backend in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)

    assert provider.count() == 2


async def test_a_server_lives_on_after_what_it_cannot_answer():
    def answer(question: str) -> str:
        return {"hi": "ho"}[question]

    with FakeProvider(answer=answer) as provider:
        async with await anyio.connect_tcp("127.0.0.1", int(provider.url.rpartition(":")[2])) as stream:
            await stream.send(b"nonsense\r\n\r\n")
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):  # closed, or reset with bytes unread
                await stream.receive()
        async with httpx2.AsyncClient() as client:
            unknown = await client.post(f"{provider.url}/complete", json={"prompt": "hello"})
            known = await client.post(f"{provider.url}/complete", json={"prompt": "hi"})

    assert unknown.status_code == 500
    assert "could not answer: KeyError: 'hello'" in unknown.text
    assert known.json() == {"content": "ho"}


async def test_a_claim_that_stays_false_is_a_timeout(provider):
    with pytest.raises(TimeoutError, match=r"not so within 0\.01 s: <FakeProvider 'moon' on port"):
        await provider.until(lambda it: it.count(), seconds=0.01)


async def test_it_starts_once_and_its_address_needs_it_running():
    provider = FakeProvider()
    with pytest.raises(RuntimeError, match=r"<FakeProvider 'fake' not running: 0 requests> does not run"):
        _ = provider.url
    async with provider:
        with pytest.raises(RuntimeError, match="runs already"):
            provider.start()
    provider.close()
    with provider:
        assert provider.base_url.endswith("/v1")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda it: it.script("openai_nonsense"),
            "no fault named 'openai_nonsense'; there are: anthropic_",
        ),
        (lambda it: it.script(None), "a fault is a Fault, a name or an HTTP status, got None"),
        (lambda it: it.script(7), "a fault is a Fault, a name or an HTTP status, got 7"),
        (lambda it: it.outage("nonsense"), "no fault named 'nonsense'; .*, with or without the provider"),
        (lambda it: it.outage(after=-1), "at least 0 seconds, got after=-1, seconds=None"),
        (lambda it: it.outage(seconds=float("nan")), "at least 0 seconds, got after=0.0, seconds=nan"),
        (lambda it: it.flaky(1.5), "rate must be from 0 to 1, got 1.5"),
        (lambda it: it.flaky(0.5, "rubbish"), "no fault named 'rubbish'"),
        (lambda _: Fault.slow(-1), "delay must not be negative, got -1"),
        (lambda _: Fault.cut(after_items=-1), "after_items must not be negative, got -1"),
    ],
)
def test_plans_that_cannot_be_played_are_refused_when_made(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(FakeProvider())


async def test_a_head_request_gets_no_body_and_leaves_the_connection_usable():
    with FakeProvider("moon") as provider:
        async with httpx2.AsyncClient() as client:
            for _ in range(2):
                assert (await client.head(f"{provider.url}/complete")).content == b""
                answer = await client.post(f"{provider.url}/complete", json={"prompt": "hi"})
                assert answer.json()["content"] == "[moon] hi"

        assert provider.count() == 4
