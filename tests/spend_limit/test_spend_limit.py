"""No call once the hour's money is spent; what cannot be counted is shown."""

from __future__ import annotations

import copy
import pickle

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    CircuitState,
    Endpoint,
    ErrorType,
    SpendLimitReachedError,
    StackOrderWarning,
    batched,
    circuit_breaker,
    classified_retry,
    classify,
    degrade_to,
    describe,
    failover,
    spend_limit,
)
from resilient_ai.events import CallRejected, SpendStopped, SpendUnknown, SpendWarned
from resilient_ai.providers import Reply
from resilient_ai.usage import Usage, report_usage
from resilient_ai.web import http_status
from tests.helpers import scripted

HOUR = 3600.0
ANSWER = Reply("hello", usage=Usage(90, 10), model="gpt")


@pytest.fixture
def priced(registry):
    """An answer of a hundred tokens costs a dollar, by a model that has a price."""
    registry.price = lambda model, usage: (usage.input_tokens + usage.output_tokens) / 100 if model == "gpt" else None
    return registry


def limited(registry, outcome=ANSWER, **settings):
    settings = settings or {"usd_per_hour": 3}
    return spend_limit("purse", registry=registry, **settings)(scripted(outcome))


async def test_it_refuses_before_the_next_call_once_all_is_spent(priced):
    ask = limited(priced)
    for _ in range(3):
        await ask()
    with pytest.raises(SpendLimitReachedError) as caught:
        await ask()

    assert ask.__wrapped__.calls == 3
    assert (caught.value.name, caught.value.spent, caught.value.limit, caught.value.unit) == ("purse", 3, 3, "usd")
    assert caught.value.retry_after == HOUR
    assert str(caught.value) == (
        "spend limit 'purse' is reached: $3.00 of $3.00 in the last hour; there is room again in 3600 s"
    )


async def test_there_is_room_again_when_it_says(priced, clock):
    clock.advance(90)
    ask = limited(priced)
    for _ in range(3):
        await ask()
        clock.advance(60)
    with pytest.raises(SpendLimitReachedError) as caught:
        await ask()
    clock.advance(caught.value.retry_after)

    assert await ask() == "hello"
    with pytest.raises(SpendLimitReachedError):
        await ask()


async def test_tokens_can_be_limited_without_a_price(registry):
    ask = limited(registry, tokens_per_hour=250)
    for _ in range(3):
        await ask()
    with pytest.raises(SpendLimitReachedError, match=r"300 tokens of 250 tokens in the last hour"):
        await ask()

    assert registry.spend_limits["purse"].stats().tokens_spent == 300


async def test_fifty_callers_at_once_pass_the_limit_by_what_they_cost_and_no_more(priced):
    begun = 0

    async def slow():
        nonlocal begun
        begun += 1
        for _ in range(5):  # meanwhile all others begin
            await anyio.lowlevel.checkpoint()
        return ANSWER

    ask = spend_limit("purse", usd_per_hour=10, registry=priced)(slow)
    refused = 0

    async def caller():
        nonlocal refused
        for _ in range(5):
            try:
                await ask()
            except SpendLimitReachedError:
                refused += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(caller)
    stats = priced.spend_limits["purse"].stats()

    assert 10 <= begun < 10 + 50
    assert begun + refused == 250
    assert (stats.usd_spent, stats.ok, stats.refused) == (begun, begun, refused)


async def test_attempts_and_answers_that_are_thrown_away_are_paid_for(priced, clock):
    bad = Reply("bad", usage=Usage(100), model="gpt")
    ask = failover(
        Endpoint("us"),
        Endpoint("eu"),
        strategy="priority",
        reject=lambda answer: ErrorType.INTERNAL_ERROR if answer == "bad" else None,
        name="regions",
        registry=priced,
    )(scripted(bad, ANSWER))
    call = spend_limit("purse", usd_per_hour=2, registry=priced)(classified_retry(registry=priced)(ask))
    await call()

    assert priced.spend_limits["purse"].stats().usd_spent == 2
    with pytest.raises(SpendLimitReachedError):
        await call()


async def test_a_stream_is_paid_for_when_it_ends(priced):
    @spend_limit("purse", usd_per_hour=1, registry=priced)
    async def tell():
        yield "a"
        yield "b"
        report_usage(Usage(100), "gpt")

    assert [piece async for piece in tell()] == ["a", "b"]
    with pytest.raises(SpendLimitReachedError):
        await anext(tell())

    assert priced.spend_limits["purse"].stats().ok == 1


def test_a_plain_function_is_stopped_too(priced):
    @spend_limit("purse", usd_per_hour=1, registry=priced)
    def ask():
        return ANSWER

    assert ask() == "hello"
    with pytest.raises(SpendLimitReachedError):
        ask()


async def test_functions_of_one_name_share_one_limit_and_a_call_within_a_call_is_paid_for_once(priced):
    inner = spend_limit("purse", usd_per_hour=3, registry=priced)(scripted(ANSWER))

    @spend_limit("purse", usd_per_hour=3, registry=priced)
    async def outer():
        return await inner()

    await outer()
    assert priced.spend_limits["purse"].stats().usd_spent == 1
    await inner()
    await outer()
    with pytest.raises(SpendLimitReachedError):
        await inner()


# -- whose refusal it is


async def test_functions_that_one_factory_makes_are_paid_for_each_by_its_own_limit(priced):
    def made_for(tenant):
        @spend_limit(tenant, usd_per_hour=3, registry=priced)
        async def ask():
            return ANSWER

        return ask

    first, second = made_for("first tenant"), made_for("second tenant")
    for _ in range(3):
        await first()

    assert await second() == "hello"
    assert [priced.spend_limits[f"{each} tenant"].stats().usd_spent for each in ("first", "second")] == [3, 1]
    assert [site.calls for site in map(priced.usage.__getitem__, priced.usage)] == [4]  # by name


async def test_a_fallback_answers_and_nothing_below_hears_of_it(priced, clock):
    us = Endpoint("us")
    ask = circuit_breaker("circuit", failure_threshold=1, registry=priced)(scripted(ANSWER))
    ask = failover(us, name="regions", registry=priced)(ask)
    ask = spend_limit("purse", usd_per_hour=1, registry=priced)(classified_retry("retry", registry=priced)(ask))
    ask = degrade_to("later", registry=priced)(ask)

    assert [await ask() for _ in range(4)] == ["hello", "later", "later", "later"]
    assert priced.endpoints["us"].stats().healthy
    assert priced.circuit_breakers["circuit[us]"].state is CircuitState.CLOSED
    assert priced.retries["retry"].stats().calls == 1


async def test_even_where_it_stands_wrong_it_is_nobodys_failure_and_not_retried(priced):
    with pytest.warns(StackOrderWarning):
        ask = classified_retry("retry", registry=priced)(limited(priced, usd_per_hour=1))
    with pytest.warns(StackOrderWarning):
        ask = circuit_breaker("circuit", failure_threshold=1, registry=priced)(ask)
    await ask()
    with pytest.raises(Exception, match=r"purse|quota_exceeded"):
        await ask()

    assert priced.retries["retry"].stats().retries == 0
    assert priced.circuit_breakers["circuit"].state is CircuitState.CLOSED


def test_its_error_is_of_our_own_side_and_travels():
    error = SpendLimitReachedError("purse", spent=5.25, limit=5, unit="usd", retry_after=61.5)
    verdict = classify(error)

    assert (verdict.error_type, verdict.retryable, verdict.endpoint_fault, verdict.blame) == (
        *(ErrorType.QUOTA_EXCEEDED, False, False, "request"),
    )
    assert http_status(error) == (503, {"Retry-After": "62"})
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (str(again), again.spent, again.limit, again.retry_after) == (str(error), 5.25, 5, 61.5)
    assert "$0.0042 of $0.0050" in str(
        SpendLimitReachedError("p", spent=0.0042, limit=0.005, unit="usd", retry_after=1)
    )


# -- what cannot be counted


async def test_what_has_no_usage_or_no_price_is_shown_and_warned_of_once(priced, events):
    for outcome in ("text", Reply("x", usage=Usage(50), model="new"), ANSWER):
        ask = limited(priced, outcome)
        await ask()
        await ask()
    stats = priced.spend_limits["purse"].stats()

    assert (stats.usd_spent, stats.without_usage, stats.without_price, stats.calls) == (2, 2, 2, 6)
    assert [event for event in events if isinstance(event, SpendUnknown)] == [
        SpendUnknown("purse", None, "usage"),
        SpendUnknown("purse", "new", "price"),
    ]
    assert "4 unknown" in repr(priced)


async def test_without_any_price_money_is_never_taken_for_free_in_silence(registry, events):
    await limited(registry)()

    assert [type(event) for event in events] == [SpendUnknown]
    assert registry.spend_limits["purse"].stats().without_price == 1


async def test_a_failure_costs_nothing_and_is_no_unknown(priced):
    ask = limited(priced, ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await ask()
    stats = priced.spend_limits["purse"].stats()

    assert (stats.failed, stats.without_usage, stats.usd_spent) == (1, 0, 0)


async def test_a_caller_who_leaves_is_neither_answer_nor_failure(priced):
    ask = spend_limit("purse", usd_per_hour=1, registry=priced)(anyio.sleep_forever)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    stats = priced.spend_limits["purse"].stats()

    assert (stats.neutral, stats.ok, stats.failed) == (1, 0, 0)


# -- what people see


async def test_it_warns_once_and_tells_once_that_it_stops(priced, events, clock):
    ask = limited(priced, usd_per_hour=5)
    for _ in range(8):
        try:
            await ask()
        except SpendLimitReachedError as error:
            wait = error.retry_after
    kinds = [event for event in events if not isinstance(event, CallRejected)]

    assert kinds == [SpendWarned("purse", "usd", 4, 5), SpendStopped("purse", "usd", 5, 5, wait)]
    assert sum(isinstance(event, CallRejected) for event in events) == 3
    clock.advance(wait)
    await ask()
    assert kinds == [event for event in events if not isinstance(event, CallRejected)]


async def test_the_table_says_what_is_spent_and_that_it_stops(priced):
    ask = limited(priced, usd_per_hour=2, tokens_per_hour=1_000)
    await ask()
    handle = priced.spend_limits["purse"]
    assert handle.row().state == "$1.00 of $2.00, 100 of 1,000 tokens in an hour"
    await ask()
    with pytest.raises(SpendLimitReachedError):
        await ask()

    assert handle.row().state == "$2.00 of $2.00, 200 of 1,000 tokens in an hour, stopped"
    assert handle.row().alarm
    assert repr(handle).startswith("<SpendLimit 'purse' $2.00 of $2.00")
    assert "spend_limit" in repr(describe(ask))
    assert handle.counts() == (2, 0, 0, 1)


async def test_a_reset_lets_calls_through_again_and_takes_no_count_back(priced):
    ask = limited(priced, usd_per_hour=1)
    await ask()
    with pytest.raises(SpendLimitReachedError):
        await ask()
    priced.reset()

    assert await ask() == "hello"
    assert priced.spend_limits["purse"].counts() == (2, 0, 0, 1)


async def test_an_operator_can_raise_it_while_it_stops(priced):
    ask = limited(priced, usd_per_hour=1)
    await ask()
    priced.configure({"purse": {"spend_limit": {"usd_per_hour": 2, "tokens_per_hour": 150}}})

    assert await ask() == "hello"
    with pytest.raises(SpendLimitReachedError) as caught:
        await ask()
    assert (caught.value.spent, caught.value.limit) == (2, 2)
    priced.configure({"purse": {"spend_limit": {"usd_per_hour": None}}})
    assert [await ask(), priced.spend_limits["purse"].stats().tokens_spent] == ["hello", 200]
    with pytest.raises(SpendLimitReachedError, match="200 tokens of 150 tokens"):
        await ask()


async def test_in_a_test_and_switched_off_it_lets_all_through(priced):
    ask = limited(priced, usd_per_hour=1)
    with priced.testing(attempts=1):
        assert [await ask(), await ask()] == ["hello", "hello"]
    with priced.disabled():
        await ask()

    assert priced.spend_limits["purse"].stats().refused == 0


# -- where it stands


def test_recommended_orders_are_silent(registry, recwarn):
    async def ask(endpoint, items):
        return items

    for outer in (lambda call: call, batched(registry=registry)):
        call = classified_retry(registry=registry)(failover(Endpoint("us"), name="f", registry=registry)(ask))
        degrade_to("x", registry=registry)(spend_limit(usd_per_hour=1, registry=registry)(outer(call)))

    assert not recwarn.list


@pytest.mark.parametrize(
    ("outer", "reason"),
    [
        (lambda r: classified_retry(registry=r), "asks the spend limit again for every attempt"),
        (lambda r: circuit_breaker(registry=r), "circuit"),
    ],
    ids=["retry", "breaker"],
)
def test_an_order_that_undoes_something_is_warned_of(registry, outer, reason):
    with pytest.warns(StackOrderWarning, match=reason):
        outer(registry)(limited(registry))


def test_outside_of_a_fallback_it_is_warned_of(registry):
    degraded = degrade_to("x", registry=registry)(scripted("a"))
    with pytest.warns(StackOrderWarning, match="refuses calls that degrade_to could have answered"):
        spend_limit(usd_per_hour=1, registry=registry)(degraded)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "spend_limit needs a number to keep: usd_per_hour=, tokens_per_hour= or both"),
        ({"usd_per_hour": 0}, "usd_per_hour must be a number above 0 or None, got 0"),
        ({"tokens_per_hour": -1}, "tokens_per_hour must be a number above 0 or None, got -1"),
        ({"usd_per_hour": 1, "warn_at": 1.5}, "warn_at must be"),
        ({"usd_per_hour": True}, "usd_per_hour must be"),
    ],
    ids=["none", "zero", "negative", "share", "no number"],
)
def test_bad_settings_are_refused_at_decoration(settings, problem, registry):
    with pytest.raises(ValueError, match=problem):
        spend_limit(registry=registry, **settings)(scripted("a"))


def test_the_last_number_cannot_be_taken_away(priced):
    limited(priced, usd_per_hour=1)

    with pytest.raises(ValueError, match="spend_limit of 'purse': spend_limit needs a number to keep"):
        priced.configure({"purse": {"spend_limit": {"usd_per_hour": None}}})
    assert priced.spend_limits["purse"].stats().usd_per_hour == 1
