"""One span for each call, one below it for each attempt, and what the SDKs begin below that."""

from __future__ import annotations

import anyio
import pytest
from opentelemetry import trace

from resilient_ai import ErrorType, batched, circuit_breaker, classified_retry, degrade_to, failover, watch
from resilient_ai.testing import VirtualClock
from tests.helpers import ProviderError
from tests.telemetry.support import EU, US, OpenTelemetry, calls, stack

pytestmark = pytest.mark.usefixtures("provider_errors")

SECRET = "sk-live-0123456789abcdef"


@pytest.fixture
def otel(registry):
    watching = OpenTelemetry(registry)
    yield watching
    watching.off()


async def us_is_down(endpoint, text):
    if endpoint is US:
        raise ProviderError(ErrorType.MODEL_OVERLOADED)
    return text


async def test_each_attempt_has_a_span_below_that_of_its_call(registry, otel):
    await stack(registry, us_is_down)("a")

    assert otel.tree() == ["resilient ask", "  attempt us model_overloaded", "  attempt eu"]


async def test_what_the_function_begins_is_below_its_attempt(registry, otel):
    tracer = trace.get_tracer("an SDK", tracer_provider=otel.tracers)

    async def ask(endpoint, text):
        with tracer.start_as_current_span("chat"):
            await anyio.lowlevel.checkpoint()
        return await us_is_down(endpoint, text)

    with tracer.start_as_current_span("GET /summary"):
        await stack(registry, ask)("a")

    assert otel.tree() == [
        "GET /summary",
        "  resilient ask",
        "    attempt us model_overloaded",
        "      chat",
        "    attempt eu",
        "      chat",
    ]


async def test_spans_say_which_attempt_at_which_endpoint_and_how_the_call_ended(registry, otel):
    await stack(registry, us_is_down)("a")

    us, eu, call = otel.spans
    assert dict(us.attributes) == {
        "resilient_ai.attempt": 1,
        "resilient_ai.endpoint": "us",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "small",
        "error.type": "model_overloaded",
    }
    assert dict(eu.attributes) == {"resilient_ai.attempt": 2, "resilient_ai.endpoint": "eu"}
    assert dict(call.attributes) == {
        "resilient_ai.call_site": "ask",
        "resilient_ai.attempts": 2,
        "resilient_ai.degraded": False,
        "resilient_ai.source": "eu",
    }


async def test_a_degraded_call_says_so_and_its_events_tell_why(registry, otel):
    async def down(endpoint, text):
        raise ProviderError(ErrorType.MODEL_OVERLOADED)

    await stack(registry, down)("a")

    call = otel.spans[-1]
    assert call.attributes["resilient_ai.degraded"] is True
    told = [each.name.rpartition(".")[2] for each in call.events]
    assert [each for each in told if each != "limit_lowered"] == [
        "endpoint_down",
        "failed_over",
        "endpoint_down",
        "attempt_failed",
        "retries_exhausted",
        "degraded",
    ]


async def test_no_span_has_the_text_of_an_error(registry, otel):
    async def leaks(endpoint, text):
        raise ConnectionError(f"{SECRET} {text}")

    ask = failover(US, registry=registry)(leaks)
    await calls(stack(registry, leaks), "my prompt")
    await calls(ask, "my prompt")

    told = " ".join(span.to_json() for span in otel.spans)
    assert "network_error" in told
    assert SECRET not in told
    assert "my prompt" not in told


async def test_a_key_of_the_users_is_in_no_span(registry, otel):
    async def down(text):
        raise ProviderError(ErrorType.MODEL_OVERLOADED)

    await calls(circuit_breaker(key=lambda text: text, failure_threshold=1, registry=registry)(down), SECRET)

    assert any(span.events for span in otel.spans)
    assert SECRET not in " ".join(span.to_json() for span in otel.spans)


async def test_the_two_attempts_of_a_hedge_are_siblings_and_the_loser_is_nobodys_error(registry, otel, clock):
    @failover(US, EU, name="ask", strategy="priority", hedge_after=1.0, registry=registry)
    async def ask(endpoint, text):
        await registry.clock.sleep(9.0 if endpoint is US else 0.5)
        return text

    async with clock.autojump():
        await ask("a")

    assert otel.tree() == ["resilient ask", "  attempt us", "  attempt eu"]
    lost = next(span for span in otel.spans if span.name == "attempt us")
    assert lost.attributes["resilient_ai.cancelled"] is True
    assert lost.status.is_ok or lost.status.is_unset


@pytest.mark.parametrize("returned", [False, True])
async def test_spans_of_a_stream_end_with_it(registry, otel, clock: VirtualClock, returned):
    async def items(endpoint, text):
        clock.advance(2)
        yield "a"
        clock.advance(3)
        yield "b"

    async def gives(endpoint, text):
        return items(endpoint, text)

    ask = failover(EU, name="ask", registry=registry)(gives if returned else items)
    stream = (await ask("hi")) if returned else ask("hi")
    first = await anext(stream)
    open_spans = len(otel.spans)
    rest = [each async for each in stream]

    assert (first, rest, open_spans) == ("a", ["b"], 0)
    assert otel.tree() == ["resilient ask", "  attempt eu"]
    attempt = next(span for span in otel.spans if span.name == "attempt eu")
    assert attempt.attributes["gen_ai.response.time_to_first_chunk"] == 2


async def test_a_stream_that_breaks_ends_its_spans_with_the_type_of_its_error(registry, otel):
    @failover(EU, name="ask", registry=registry)
    async def ask(endpoint, text):
        yield "a"
        raise ConnectionError(SECRET)

    with pytest.raises(ConnectionError):
        async for _ in ask("hi"):
            pass

    assert otel.tree() == ["resilient ask network_error", "  attempt eu network_error"]


async def test_a_stream_that_is_left_ends_its_spans(registry, otel):
    @failover(EU, name="ask", registry=registry)
    async def ask(endpoint, text):
        yield "a"
        yield "b"

    stream = ask("hi")
    await anext(stream)
    await stream.aclose()

    assert otel.tree() == ["resilient ask", "  attempt eu"]


async def test_a_batch_has_links_to_the_calls_of_all_its_callers(registry, otel):
    @batched(batch_size=3, name="embed", registry=registry)
    async def embed(texts):
        return texts

    async with anyio.create_task_group() as tasks:
        for each in "abc":
            tasks.start_soon(embed, each)

    [attempt] = [span for span in otel.spans if span.name == "attempt"]
    callers = {span.context.span_id for span in otel.spans if span.name == "resilient embed"}
    assert len(callers) == 3
    assert {attempt.parent.span_id, *(link.context.span_id for link in attempt.links)} == callers


async def test_calls_inside_a_batch_have_no_links(registry, otel):
    @classified_retry("inner", registry=registry)
    async def inner():
        return "x"

    @batched(batch_size=2, name="embed", registry=registry)
    async def embed(texts):
        await inner()
        return texts

    async with anyio.create_task_group() as tasks:
        for each in "ab":
            tasks.start_soon(embed, each)

    assert [len(span.links) for span in otel.spans if span.name.startswith("attempt")] == [0, 1]


async def test_methods_have_spans_too_those_that_are_kept_as_well(registry):
    class Client:
        @classified_retry("ask", registry=registry)
        async def ask(self, text):
            return text

    kept = Client().ask
    otel = OpenTelemetry(registry)
    await kept("a")
    await Client().ask("b")
    otel.off()
    await kept("c")

    assert otel.tree() == ["resilient ask", "  attempt"] * 2


async def test_off_leaves_no_span_and_functions_as_they_were(registry):
    ask = stack(registry, us_is_down)
    otel = OpenTelemetry(registry)
    otel.off()
    await ask("a")

    assert otel.spans == ()
    assert registry.degradations["ask"].stats().calls == 1


async def test_a_function_that_is_decorated_later_has_spans_too(registry, otel):
    await degrade_to("sorry", name="late", registry=registry)(us_is_down)(EU, "a")

    assert otel.tree() == ["resilient late", "  attempt"]


async def test_watch_sees_what_it_would_without_spans(registry, otel):
    ask = stack(registry, us_is_down)
    with watch() as seen:
        await ask("a")

    assert (seen.endpoint, seen.endpoints_tried, seen.attempts) == ("eu", ("us", "eu"), 1)


async def test_a_cancelled_call_is_nobodys_error(registry, otel, clock):
    @classified_retry("ask", registry=registry)
    async def ask():
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01):
        await ask()

    assert [(span.name, span.attributes["resilient_ai.cancelled"], span.status.is_ok) for span in otel.spans] == [
        ("attempt", True, True),
        ("resilient ask", True, True),
    ]
