"""What users of `@classified_retry` can rely on."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from contextlib import aclosing, suppress
from dataclasses import replace

import anyio
import pytest
import tenacity

from resilient_ai import (
    AIServiceError,
    AllEndpointsFailedError,
    CircuitOpenError,
    ErrorType,
    LimitReachedError,
    Registry,
    RejectedResultError,
    RetryBudget,
    RetryRule,
    circuit_breaker,
    classified_retry,
    register_classifier,
)
from resilient_ai._classification.classify import verdict
from resilient_ai._core.events import AttemptFailed, QuotaExceeded, RetriesExhausted, RetryScheduled
from resilient_ai._core.watch import watch
from resilient_ai.testing import VirtualClock
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


def streaming(*scripts):
    """An async generator function; each script is one stream's items, an exception among them is raised."""
    left = list(scripts)

    async def stream(*args, **kwargs):
        stream.calls += 1
        try:
            for item in left.pop(0) if len(left) > 1 else left[0]:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stream.closed += 1

    stream.calls = stream.closed = 0
    return stream


PLAIN = {kind: RetryRule(9, 1.0, 60.0, jitter="none") for kind in ErrorType}


def retrying(registry, fn, **settings):
    return classified_retry("ask", registry=registry, **settings)(fn)


def stats(registry):
    return registry.retries["ask"].stats()


# -- which errors, and how often


@pytest.mark.parametrize(
    ("error_type", "attempts"),
    [
        ("rate_limit", 6),
        ("model_overloaded", 5),
        ("network_error", 4),
        ("timeout", 3),
        ("internal_error", 3),
        ("quota_exceeded", 1),
        ("authentication", 1),
        ("permission", 1),
        ("invalid_request", 1),
        ("context_length", 1),
        ("content_filter", 1),
        ("not_found", 1),
    ],
)
async def test_each_type_has_its_own_number_of_retries(registry, clock, error_type, attempts):
    down = scripted(ProviderError(error_type))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=rf"failed with {error_type} \(ProviderError\)") as caught:
            await retrying(registry, down)()

    assert down.calls == caught.value.attempts == attempts
    assert caught.value.error_type is ErrorType(error_type)
    assert isinstance(caught.value.__cause__, ProviderError)
    assert caught.value.original_error is caught.value.__cause__


async def test_a_retry_that_succeeds_gives_the_answer(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit"), ProviderError("timeout"), "pong"))
    async with clock.autojump():
        assert await ask() == "pong"

    seen = stats(registry)
    assert (seen.calls, seen.attempts, seen.retries, seen.recovered, seen.given_up) == (1, 3, 2, 1, 0)
    assert seen.error_counts == {"rate_limit": 1, "timeout": 1}


async def test_each_type_counts_its_own_retries_and_max_attempts_caps_all(registry, clock):
    mixed = [ProviderError("timeout"), ProviderError("network_error")] * 5
    ask = retrying(registry, scripted(*mixed), max_attempts=5)
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=r"after 5 attempts .*; max_attempts=5 reached"):
            await ask()

    ask = classified_retry("by-type", registry=registry)(scripted(*mixed))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=r"after 5 attempts .*; 2 retries for timeout used up"):
            await ask()


async def test_an_error_that_nothing_recognises_is_raised_as_it_is(registry):
    bug = KeyError("prompt")
    down = scripted(bug)
    with pytest.raises(KeyError) as caught:
        await retrying(registry, down)()

    assert caught.value is bug
    assert down.calls == 1
    assert stats(registry).given_up == 1


async def test_rules_change_single_rows(registry, clock):
    rules = {ErrorType.RATE_LIMIT: None, ErrorType.NOT_FOUND: RetryRule(1, 0, 0)}
    for error_type, attempts in (("rate_limit", 1), ("not_found", 2), ("timeout", 3)):
        down = scripted(ProviderError(error_type))
        ask = classified_retry(error_type, rules=rules, registry=registry)(down)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await ask()

        assert down.calls == attempts


async def test_only_the_types_of_on_are_retried(registry, clock):
    for error_type, attempts in (("rate_limit", 1), ("timeout", 3)):
        down = scripted(ProviderError(error_type))
        ask = classified_retry(error_type, on={ErrorType.TIMEOUT}, registry=registry)(down)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await ask()

        assert down.calls == attempts


async def test_a_verdict_of_the_users_own_is_taken_at_its_word(registry, clock):
    class OddError(Exception):
        verdict = replace(verdict(ErrorType.INTERNAL_ERROR), blame="unknown")

    unregister = register_classifier(lambda error: getattr(error, "verdict", None))
    try:
        down = scripted(OddError())
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await retrying(registry, down)()
    finally:
        unregister()

    assert down.calls == 3


# -- how long it waits


async def test_backoff_grows_by_the_multiplier_up_to_max_delay(registry, clock, events):
    ask = retrying(
        registry,
        scripted(ProviderError("rate_limit")),
        rules={ErrorType.RATE_LIMIT: RetryRule(5, 1.0, 5.0, jitter="none")},
    )
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask()

    assert [event.delay for event in events if isinstance(event, RetryScheduled)] == [1, 2, 4, 5, 5]
    assert clock.now() == 17


@pytest.mark.parametrize(("jitter", "least", "most"), [("full", 0.0, 10.0), ("equal", 5.0, 10.0), ("none", 10.0, 10.0)])
def test_jitter_stays_within_its_bounds(jitter, least, most):
    rule = RetryRule(1, 10.0, 10.0, jitter=jitter)
    rng = random.Random(3)
    delays = [rule.delay(1, rng.random()) for _ in range(500)]

    assert least <= min(delays) <= max(delays) <= most
    assert jitter == "none" or max(delays) - min(delays) > 0.9 * (most - least)


async def test_chance_comes_from_the_registry(clock):
    async def delays(seed):
        registry = Registry(clock=clock, rng=random.Random(seed), listeners=())
        heard = []
        registry.subscribe(heard.append)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await retrying(registry, scripted(ProviderError("rate_limit")))()
        return [event.delay for event in heard if isinstance(event, RetryScheduled)]

    assert await delays(7) == await delays(7)
    assert await delays(7) != await delays(8)


async def test_the_providers_wait_is_a_floor(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit", retry_after=42), "pong"))
    async with clock.autojump():
        assert await ask() == "pong"

    assert clock.now() == 42


async def test_a_wait_beyond_max_delay_stops_at_once(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit", retry_after=61)))
    with pytest.raises(AIServiceError, match=r"the provider asks to wait 61\.0 s, longer than max_delay=60") as caught:
        await ask()

    assert clock.now() == 0
    assert caught.value.retry_after == 61


async def test_it_stops_when_max_elapsed_would_end_before_the_next_attempt(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, max_elapsed=4)
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="max_elapsed=4 would end before the next attempt"):
            await ask()

    assert clock.now() == 3  # after 1 + 2 seconds the next wait of 4 would be too long; it is not begun


async def test_it_never_sleeps_after_the_last_attempt(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, max_attempts=2)
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask()

    assert clock.now() == 1


async def test_an_enclosing_deadline_is_respected_without_being_told(registry, clock):
    down = scripted(ProviderError("rate_limit", retry_after=30))
    with anyio.fail_after(20), pytest.raises(AIServiceError, match="the caller's deadline would end before"):
        await retrying(registry, down)()

    assert down.calls == 1
    assert clock.now() == 0


async def test_the_callers_cancellation_is_no_timeout_and_gives_the_token_back(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, budget=RetryBudget(per_second=0))
    async with clock.autojump():
        with clock.move_on_after(0.5) as scope:
            await ask()
    seen = stats(registry)

    assert scope.cancelled_caught
    assert (seen.calls, seen.retries, seen.given_up) == (0, 0, 0)
    assert seen.error_counts == {"timeout": 1}
    assert seen.budget == 100


async def test_cancelling_an_attempt_counts_for_nothing(registry, clock):
    @classified_retry("ask", registry=registry)
    async def ask() -> None:
        await clock.sleep(60)

    async with clock.autojump():
        with clock.move_on_after(1) as scope:
            await ask()
    seen = stats(registry)

    assert scope.cancelled_caught
    assert (seen.calls, seen.attempts, seen.error_counts) == (0, 0, {})


# -- circuits


async def test_it_waits_for_a_circuit_that_may_be_asked_soon(registry, clock):
    guarded = circuit_breaker("openai", failure_threshold=1, recovery_timeout=4, registry=registry)(
        scripted(ProviderError("model_overloaded"), "pong")
    )
    with pytest.raises(ProviderError):
        await guarded()
    async with clock.autojump():
        assert await retrying(registry, guarded)() == "pong"

    assert clock.now() == 4


async def test_it_fails_at_once_when_the_circuit_stays_open_for_longer(registry, clock):
    ask = retrying(registry, scripted(CircuitOpenError("openai", retry_after=6)))
    with pytest.raises(AIServiceError, match="our own side asks to wait 6"):
        await ask()

    assert clock.now() == 0


async def test_it_does_not_wait_for_an_operator(registry, clock):
    ask = retrying(registry, scripted(CircuitOpenError("openai", reason="forced_open")))
    with pytest.raises(AIServiceError, match="nobody knows when the circuit may be asked again"):
        await ask()

    assert clock.now() == 0


async def test_it_looks_again_soon_while_the_probes_are_in_flight(registry, clock):
    full = CircuitOpenError("openai", retry_after=60, reason="half_open_full")
    async with clock.autojump():
        assert await retrying(registry, scripted(full, full, full, "pong"))() == "pong"

    assert 0.5 < clock.now() < 2


async def test_looking_whether_the_probes_are_back_is_no_attempt(registry, clock):
    full = CircuitOpenError("openai", retry_after=60, reason="half_open_full")
    behind = AllEndpointsFailedError("ask", {"a": full}, error_types={"a": full.error_type}, retry_after=60)
    async with clock.autojump():
        ask = retrying(registry, scripted(*[full, behind] * 4, "pong"), max_attempts=2)
        assert await ask() == "pong"

    assert clock.now() < 15


async def test_within_a_deadline_what_our_own_side_refused_is_no_attempt(registry, clock):
    shut = CircuitOpenError("openai", retry_after=1)
    full = LimitReachedError("openai", limit=1, waiting=9, retry_after=1)
    behind = AllEndpointsFailedError(
        "ask", {"a": shut, "b": full}, error_types={"a": shut.error_type, "b": full.error_type}, retry_after=1
    )
    async with clock.autojump():
        ask = retrying(registry, scripted(*[shut, full, behind] * 3, "pong"), max_attempts=2)
        with anyio.fail_after(1000):
            assert await ask() == "pong"

    assert registry.retries["ask"].stats().retries == 9


async def test_a_wait_for_a_limit_is_bounded_by_the_deadline_alone(registry, clock):
    full = LimitReachedError("openai", limit=1, waiting=9, retry_after=45)
    async with clock.autojump():
        with anyio.fail_after(1000):
            assert await retrying(registry, scripted(full, full, "pong"))() == "pong"

    assert clock.now() >= 90


async def test_a_rule_of_ones_own_for_open_circuits_is_taken_at_its_word(registry, clock):
    shut = CircuitOpenError("openai", retry_after=1)
    rules = {ErrorType.CIRCUIT_OPEN: RetryRule(1, 0.0, 5.0)}
    async with clock.autojump():
        ask = retrying(registry, scripted(*[shut] * 3, "pong"), rules=rules)
        with anyio.fail_after(1000), pytest.raises(AIServiceError, match="1 retries for circuit_open used up"):
            await ask()


async def test_a_retry_that_our_own_side_refused_gives_its_price_back(registry, clock):
    down, shut = ProviderError("timeout"), CircuitOpenError("a", retry_after=1)
    async with clock.autojump():
        ask = retrying(
            registry,
            scripted(*[down, shut] * 3, "pong"),
            max_attempts=9,
            rules={ErrorType.TIMEOUT: RetryRule(3, 0.5, 10.0)},
            budget=RetryBudget(capacity=3, per_second=0),
        )
        with anyio.fail_after(1000):
            assert await ask() == "pong"


async def test_what_only_our_own_side_refused_costs_no_budget(registry, clock):
    refusal = LimitReachedError("a", limit=1, waiting=0, retry_after=1)
    behind = AllEndpointsFailedError("ask", {"a": refusal}, error_types={"a": refusal.error_type}, retry_after=1)
    ask = retrying(registry, scripted(refusal, behind, "pong"), budget=RetryBudget(capacity=1, per_second=0))
    async with clock.autojump():
        await ask()

    assert stats(registry).budget == 1


async def test_waiting_for_a_circuit_costs_no_budget(registry, clock):
    ask = retrying(
        registry, scripted(CircuitOpenError("a", retry_after=1), "pong"), budget=RetryBudget(capacity=1, per_second=0)
    )
    async with clock.autojump():
        await ask()

    assert stats(registry).budget == 1


# -- the budget


async def test_an_empty_budget_means_no_retry_and_no_sleep(registry, clock):
    down = scripted(ProviderError("timeout"))
    ask = retrying(registry, down, budget=RetryBudget(capacity=3, per_second=0))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="the retry budget is empty"):
            await ask()
        before = clock.now()
        with pytest.raises(AIServiceError, match="the retry budget is empty") as caught:
            await ask()

    assert clock.now() == before
    assert down.calls == 3  # the first attempts are never held back
    assert isinstance(caught.value.__cause__, ProviderError)


async def test_a_retry_costs_more_after_trouble_than_after_a_rate_limit(registry, clock):
    for error_type, price in (("rate_limit", 1.0), ("timeout", 2.8), ("model_overloaded", 2.8)):
        ask = classified_retry(
            error_type,
            rules={ErrorType(error_type): RetryRule(1, 0, 1)},
            budget=RetryBudget(per_second=0),
            registry=registry,
        )(scripted(ProviderError(error_type)))
        with pytest.raises(AIServiceError):
            await ask()

        assert registry.retries[error_type].stats().budget == pytest.approx(100 - price)


async def test_a_retry_that_saves_the_call_gets_its_price_back(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout"), "pong"), budget=RetryBudget(per_second=0))
    async with clock.autojump():
        await ask()

    assert stats(registry).budget == pytest.approx(100)


async def test_successes_and_seconds_fill_the_budget_again(registry, clock):
    outcomes = [ProviderError("timeout")] * 3 + ["pong"]
    ask = retrying(registry, scripted(*outcomes), budget=RetryBudget(capacity=10, per_second=0.5))
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask()
    low, before = stats(registry).budget, clock.now()
    await ask()
    after_a_success = stats(registry).budget
    clock.advance(2)
    after_two_seconds = stats(registry).budget
    clock.advance(60)

    assert before < 3
    assert after_a_success == pytest.approx(low + 0.2)
    assert after_two_seconds == pytest.approx(low + 1.2)
    assert stats(registry).budget == 10


async def test_call_sites_of_one_name_share_one_budget(registry, clock):
    budget = RetryBudget(capacity=3, per_second=0)
    first, second = (retrying(registry, scripted(ProviderError("timeout")), budget=budget) for _ in range(2))
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="after 2 attempts"):
            await first()
        with pytest.raises(AIServiceError, match="after 1 attempt "):
            await second()


async def test_without_a_budget_nothing_is_counted_down(registry, clock):
    ask = retrying(registry, scripted(ProviderError("timeout")), budget=None)
    async with clock.autojump():
        for _ in range(100):
            with pytest.raises(AIServiceError, match="2 retries for timeout used up"):
                await ask()

    assert stats(registry).budget is None


# -- what must not be sent twice


class ConnectError(Exception):
    """Named like the HTTP clients' own."""


async def test_unsent_only_retries_what_proves_that_nothing_was_processed(registry, clock):
    behind = ProviderError("network_error")
    behind.__cause__ = ConnectError()
    reset = ProviderError("network_error")
    reset.__cause__ = ConnectionResetError()
    hidden = ConnectionError()  # as ollama raises it
    hidden.__context__ = ConnectError()
    everywhere = AllEndpointsFailedError(
        "ask", {"us": ConnectError(), "eu": reset}, error_types=dict.fromkeys(["us", "eu"], ErrorType.NETWORK_ERROR)
    )
    for error, attempts in (
        (ProviderError("rate_limit"), 6),
        (ProviderError("model_overloaded"), 5),
        (ProviderError("model_overloaded", in_stream=True), 1),
        (ConnectError(), 4),
        (behind, 4),
        (hidden, 4),
        (ConnectionRefusedError(), 4),
        (ConnectionResetError(), 1),
        (reset, 1),
        (everywhere, 1),
        (ProviderError("timeout"), 1),
        (ProviderError("internal_error"), 1),
    ):
        down = scripted(error)
        ask = classified_retry(f"{error!r}{attempts}", retry_unsent_only=True, registry=registry)(down)
        async with clock.autojump():
            with pytest.raises(AIServiceError):
                await ask()

        assert down.calls == attempts, repr(error)


# -- results


async def test_a_rejected_result_is_retried_as_the_error_it_stands_for(registry, clock):
    ask = retrying(registry, scripted("", "", "pong"), reject=lambda text: None if text else ErrorType.INTERNAL_ERROR)
    async with clock.autojump():
        assert await ask() == "pong"

    assert stats(registry).error_counts == {"internal_error": 2}


@pytest.mark.parametrize("answer", [True, "timeout"])
async def test_a_reject_that_names_no_error_type_is_told_so_after_one_call(registry, answer):
    send = scripted("my secret answer")
    ask = retrying(registry, send, reject=lambda text: answer)
    with pytest.raises(TypeError, match=rf"must return an ErrorType or None, got a {type(answer).__name__}$") as caught:
        await ask()

    assert send.calls == 1
    assert "secret" not in str(caught.value)


async def test_a_result_that_stays_rejected_surfaces_as_that(registry):
    ask = retrying(registry, scripted("I cannot"), reject=lambda text: ErrorType.CONTENT_FILTER)
    with pytest.raises(AIServiceError) as caught:
        await ask()

    assert isinstance(caught.value.__cause__, RejectedResultError)
    assert caught.value.__cause__.result == "I cannot"
    assert "I cannot" not in str(caught.value)


# -- tenacity's objects


async def test_tenacitys_stop_wait_and_retry_are_accepted(registry, clock):
    down = scripted(KeyError("a"))
    ask = retrying(
        registry,
        down,
        stop=tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(100),
        wait=tenacity.wait_fixed(3),
        retry=tenacity.retry_if_exception_type(KeyError),
    )
    async with clock.autojump():
        with pytest.raises(AIServiceError, match=r"4 attempts in 9\.0 s; its stop= says so"):
            await ask()

    assert clock.now() == 9


async def test_tenacitys_conditions_know_the_wait_that_would_come(registry, clock):
    ask = retrying(
        registry,
        scripted(ProviderError("timeout")),
        rules=PLAIN,
        wait=tenacity.wait_fixed(3),
        stop=tenacity.stop_before_delay(7),
    )
    async with clock.autojump():
        with pytest.raises(AIServiceError, match="its stop= says so"):
            await ask()

    assert clock.now() == 6


async def test_tenacitys_retry_may_look_at_results(registry, clock):
    ask = retrying(registry, scripted(None, None, "pong"), retry=tenacity.retry_if_result(lambda text: text is None))
    async with clock.autojump():
        assert await ask() == "pong"

    with pytest.raises(AIServiceError, match="its retry= says no"):
        await classified_retry("never", retry=tenacity.retry_never, registry=registry)(
            scripted(ProviderError("timeout"))
        )()


# -- what is raised in the end


async def test_reraise_gives_the_original_with_a_note(registry, clock):
    error = ProviderError("timeout")
    async with clock.autojump():
        with pytest.raises(ProviderError) as caught:
            await retrying(registry, scripted(error), rules=PLAIN, max_attempts=2, reraise=True)()

    assert caught.value is error
    assert error.__notes__ == ["resilient_ai: 2 attempts in 1.0 s; max_attempts=2 reached"]


@pytest.mark.parametrize("reraise", [True, False])
async def test_a_failed_call_leaves_nothing_for_the_garbage_collector(registry, clock, reraise):
    class Request:
        """Something of the caller's that must not be kept alive."""

    async def down(request):
        raise ProviderError("invalid_request")

    ask = retrying(registry, down, reraise=reraise)
    gc.collect()
    gc.disable()
    try:
        request = Request()
        gone = weakref.ref(request)
        with suppress(AIServiceError, ProviderError):
            await ask(request)
        del request

        assert gone() is None
    finally:
        gc.enable()


async def test_a_success_leaves_nothing_behind(registry):
    ask = retrying(registry, scripted("pong"))
    for _ in range(50):
        await ask()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1_000):
        await ask()

    assert len(gc.get_objects()) - before < 20


# -- streams


async def test_a_stream_is_retried_until_its_first_item(registry, clock):
    stream = streaming([ProviderError("timeout")], [ProviderError("network_error")], ["a", "b"])
    async with clock.autojump():
        assert [item async for item in retrying(registry, stream)()] == ["a", "b"]

    seen = stats(registry)
    assert (seen.calls, seen.attempts, seen.retries, seen.recovered) == (1, 3, 2, 1)
    assert stream.closed == 3


async def test_after_the_first_item_the_error_goes_to_the_consumer(registry, events):
    broken = ProviderError("network_error")
    stream = streaming(["a", broken])
    items = []
    with pytest.raises(ProviderError) as caught:
        async for item in retrying(registry, stream)():
            items.append(item)  # noqa: PERF401 - what came before the error must be kept
    seen = stats(registry)

    assert (items, caught.value) == (["a"], broken)
    assert (seen.calls, seen.given_up, seen.error_counts) == (1, 1, {"network_error": 1})
    assert [event.reason for event in events if isinstance(event, RetriesExhausted)] == ["the stream had begun"]


async def test_a_consumer_that_leaves_early_is_neutral_and_closes_the_stream(registry):
    stream = streaming(["a", "b"])
    async with aclosing(retrying(registry, stream)()) as items:
        async for _ in items:
            break

    assert stats(registry).calls == 0
    assert stream.closed == 1


async def test_what_the_consumer_throws_into_a_stream_is_not_retried(registry):
    stream = streaming(["a", "b"])
    items = retrying(registry, stream)()
    await anext(items)
    with pytest.raises(ProviderError):
        await items.athrow(ProviderError("timeout"))

    assert (stream.calls, stats(registry).error_counts) == (1, {})


async def test_an_empty_stream_is_a_success(registry):
    assert [item async for item in retrying(registry, streaming([]))()] == []

    assert stats(registry).calls == 1


def test_a_stream_has_no_result_to_reject(registry):
    with pytest.raises(TypeError, match="is an async generator and has none"):
        retrying(registry, streaming([]), reject=lambda item: None)


# -- what can be seen


async def test_events_tell_each_failure_each_wait_and_the_end(registry, clock, events):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, max_attempts=2)
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask("a prompt")

    failed, scheduled, again, ended = events
    assert type(failed) is type(again) is AttemptFailed
    assert (failed.name, failed.attempt, failed.error_type, failed.error_message) == ("ask", 1, "timeout", "timeout")
    assert failed.function.endswith("call")
    assert failed.args_hash == again.args_hash
    assert scheduled == RetryScheduled("ask", 1, "timeout", 1.0)
    assert ended == RetriesExhausted("ask", 2, 1.0, "timeout", "max_attempts=2 reached")


async def test_a_used_up_quota_is_told_as_such(registry, events):
    with pytest.raises(AIServiceError):
        await retrying(registry, scripted(ProviderError("quota_exceeded")))()

    assert type(events[0]) is QuotaExceeded
    assert QuotaExceeded.level == "critical"


async def test_equal_requests_have_equal_hashes_and_different_ones_different(registry, events):
    ask = retrying(registry, scripted(ProviderError("invalid_request")))
    for prompt in ("a", "a", "b"):
        with pytest.raises(AIServiceError):
            await ask(prompt, temperature=0)
    first, second, third = (event.args_hash for event in events if isinstance(event, AttemptFailed))

    assert first == second != third


async def test_error_stats_add_up_over_functions(registry):
    for name, error_type in (("a", "quota_exceeded"), ("b", "invalid_request"), ("b", "not_found")):
        with pytest.raises(AIServiceError):
            await classified_retry(name, registry=registry)(scripted(ProviderError(error_type)))()
    await classified_retry("fine", registry=registry)(scripted("pong"))()

    assert registry.error_stats() == {
        "error_counts": {"a": {"quota_exceeded": 1}, "b": {"invalid_request": 1, "not_found": 1}},
        "total_errors": 3,
        "functions_with_errors": 2,
    }


async def test_watch_sees_attempts_and_retries(registry, clock):
    ask = retrying(registry, scripted("pong", ProviderError("timeout"), "pong", ProviderError("not_found")))
    async with clock.autojump():
        with watch() as seen:
            await ask()
        assert (seen.attempts, seen.retries) == (1, 0)
        with watch() as seen:
            await ask()
        assert (seen.attempts, seen.retries) == (2, 1)
        with watch() as seen, pytest.raises(AIServiceError):
            await ask()

    assert (seen.attempts, seen.retries) == (1, 0)


async def test_the_table_and_the_repr_show_it(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit"), "pong"))
    async with clock.autojump():
        await ask()

    assert "budget 100" in repr(registry)
    assert repr(registry.retries["ask"]) == "<Retry 'ask': 1 calls, 1 retries, 0 given up>"
    assert "classified_retry 'ask' budget 100" in repr(ask)


async def test_reset_forgets_and_the_function_works_on(registry, clock):
    ask = retrying(registry, scripted("pong", "pong", ProviderError("invalid_request"), "pong"))
    await ask()
    assert (stats(registry).calls, stats(registry).calls) == (1, 1)  # reading never changes anything
    await ask()
    with pytest.raises(AIServiceError):
        await ask()
    registry.reset()
    await ask()

    seen = stats(registry)
    assert (seen.calls, seen.attempts, seen.given_up, seen.error_counts) == (1, 1, 0, {})


def test_counts_are_exact_under_many_threads_and_loops():
    registry = Registry(listeners=())
    rules = {ErrorType.INTERNAL_ERROR: RetryRule(1, 0, 0)}

    @classified_retry("ask", rules=rules, budget=RetryBudget(capacity=10**6, per_second=0), registry=registry)
    async def ask(number: int, failed: list[int]) -> int:
        if number % 5 == 0 and number not in failed:
            failed.append(number)
            raise ProviderError("internal_error")
        await anyio.lowlevel.checkpoint()
        return number

    async def many() -> None:
        failed: list[int] = []
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(ask, number, failed)

    def hammer() -> None:
        for backend in ("asyncio", "trio", "asyncio"):
            anyio.run(many, backend=backend)

    threads = [threading.Thread(target=hammer) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = stats(registry)

    assert (seen.calls, seen.retries, seen.recovered, seen.given_up) == (3_600, 720, 720, 0)
    assert (seen.attempts, seen.error_counts) == (4_320, {"internal_error": 720})


# -- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_attempts": 0}, "max_attempts must be an integer of at least 1, got 0"),
        ({"max_attempts": 2.5}, "max_attempts must be an integer of at least 1, got 2.5"),
        ({"max_elapsed": 0}, "max_elapsed must be a number above 0 or None, got 0"),
        ({"max_elapsed": float("nan")}, "max_elapsed must be a number above 0 or None, got nan"),
        ({"rules": {"rate_limit": None}}, "rules maps ErrorTypes to RetryRules or None, got 'rate_limit': None"),
        ({"rules": {ErrorType.TIMEOUT: 3}}, "rules maps ErrorTypes to RetryRules or None, got .*: 3"),
        ({"rules": [RetryRule(3, 1, 2)]}, "rules maps ErrorTypes to RetryRules or None, got \\[RetryRule"),
        ({"on": {ErrorType.QUOTA_EXCEEDED}}, "on names .*quota_exceeded.*, which has no rule"),
        ({"budget": 5}, "budget must be a RetryBudget or None, got 5"),
        ({"stop": 3}, "stop must be a plain callable or None, got 3"),
        ({"wait": scripted()}, "wait must be a plain callable or None, got <function scripted"),
        ({"reject": "no"}, "reject must be a plain callable or None, got 'no'"),
        ({"name": ""}, "name of a classified_retry must be a non-empty string, got ''"),
    ],
)
def test_a_bad_setting_is_a_value_error_that_shows_it(registry, settings, message):
    with pytest.raises(ValueError, match=message):
        classified_retry(registry=registry, **settings)(scripted("pong"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetryRule(-1, 1, 2), "max_retries must be an integer of at least 0, got -1"),
        (lambda: RetryRule(1, -1, 2), "base_delay must be a number of at least 0, got -1"),
        (lambda: RetryRule(1, 3, 2), "max_delay must be a number of at least 3, got 2"),
        (lambda: RetryRule(1, 1, 2, multiplier=0.5), "multiplier must be a number of at least 1, got 0.5"),
        (lambda: RetryRule(1, 1, 2, jitter="some"), "jitter must be 'full', 'equal' or 'none', got 'some'"),
        (lambda: RetryBudget(capacity=0), "capacity must be a number above 0, got 0"),
        (lambda: RetryBudget(per_second=-1), "per_second must be a number of at least 0, got -1"),
        (lambda: RetryBudget(price=-1), "price must be a number of at least 0, got -1"),
    ],
)
def test_a_bad_rule_or_budget_is_a_value_error_that_shows_it(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_name_with_other_settings_is_refused_and_shows_both(registry):
    retrying(registry, scripted("pong"), max_attempts=3)
    with pytest.raises(ValueError, match="'ask' already exists with other settings: max_attempts 3 there, 4 here"):
        retrying(registry, scripted("pong"), max_attempts=4)


async def test_it_works_without_parentheses_and_on_methods(registry, clock):
    class Client:
        def __init__(self) -> None:
            self.calls = 0

        @classified_retry(registry=registry)
        async def ask(self, prompt: str) -> str:
            self.calls += 1
            if self.calls == 1:
                raise ProviderError("network_error")
            return f"{prompt}!"

    async with clock.autojump():
        assert await Client().ask("hi") == "hi!"
    assert await classified_retry(scripted("pong"))() == "pong"


async def test_a_second_event_loop_goes_on_with_the_same_numbers():
    clock = VirtualClock()
    registry = Registry(clock=clock, listeners=())
    ask = retrying(registry, scripted("pong"))

    def run(backend):
        async def call():
            return await ask()

        return anyio.run(call, backend=backend)

    for backend in ("asyncio", "trio", "asyncio"):
        assert await anyio.to_thread.run_sync(run, backend) == "pong"

    assert stats(registry).calls == 3


async def test_a_single_attempt_waits_for_no_circuit_though_there_is_time(registry):
    refusing = scripted(CircuitOpenError("shut", 1.0))
    ask = classified_retry("once", max_attempts=1, registry=registry)(refusing)
    with anyio.fail_after(60), pytest.raises(AIServiceError, match="max_attempts=1 reached"):
        await ask()

    assert refusing.calls == 1
