"""`registry.usage`: what was used, by call site, endpoint and model."""

from __future__ import annotations

import subprocess
import sys
from unittest.mock import MagicMock

import anyio
import anyio.lowlevel
import pytest

from resilient_ai import (
    Endpoint,
    ErrorType,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    describe,
    failover,
    watch,
)
from resilient_ai.providers import Reply
from resilient_ai.testing import isolated_registry
from resilient_ai.usage import Usage, report_usage
from tests.helpers import scripted
from tests.usage.support import ANSWER, count, told

US, EU = Endpoint("us"), Endpoint("eu")


def asking(registry, outcome=ANSWER, *, name="counted_ask"):
    """A function through a whole stack, which gives one outcome per call and endpoint."""
    inner = scripted(*outcome) if isinstance(outcome, list) else scripted(outcome)

    async def ask(endpoint, *args):
        return await inner(endpoint)

    ask.__qualname__ = name
    call = circuit_breaker(registry=registry)(ask)
    call = failover(US, EU, strategy="priority", registry=registry)(call)
    call = classified_retry(max_attempts=1, registry=registry)(call)
    return degrade_to("later", registry=registry)(call)


async def test_answers_are_counted_by_endpoint_and_model(registry):
    count(registry)
    ask = asking(registry, [ANSWER, Reply("no", usage=Usage(3, 1, 2, 1, 1), model="mini"), ANSWER])
    for _ in range(3):
        await ask()

    assert told(registry, "counted_ask") == [("us", "gpt", 2, 20, 4, 0), ("us", "mini", 1, 3, 1, 0)]
    assert registry.usage["counted_ask"].usage == Usage(23, 5, 2, 1, 1)
    assert registry.usage["counted_ask"].calls == 3


async def test_counting_begins_with_the_first_look_for_functions_of_any_age(registry):
    early = asking(registry, name="early")
    await early()
    assert list(registry.usage) == []
    late = asking(registry, name="late")
    await early()
    await late()

    assert set(registry.usage) == {"early", "late"}
    assert registry.usage["early"].calls == 1


def test_a_price_may_be_set_before_anything_is_decorated():
    """No policy has been imported then."""
    code = "import resilient_ai as r; r.registry.price = lambda model, usage: 1.0; print(len(r.registry.usage))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout.split(), done.stderr) == (["0"], "")


async def test_a_name_that_nobody_knows_is_answered_with_those_that_are_there(registry):
    count(registry)
    await asking(registry)()

    with pytest.raises(KeyError, match=r"no call site named 'aks' whose usage is counted; there are: 'counted_ask'"):
        registry.usage["aks"]


async def test_an_answer_that_another_endpoint_replaces_is_counted(registry, provider_errors):
    """It was paid for, whoever rejects it."""
    count(registry)
    inner = scripted(Reply("bad", usage=Usage(5, 5), model="gpt"), ANSWER)

    async def ask(endpoint):
        return await inner()

    reject = lambda answer: ErrorType.INTERNAL_ERROR if answer == "bad" else None  # noqa: E731
    call = failover(US, EU, strategy="priority", reject=reject, registry=registry, name="f")(ask)

    assert await call() == "hello"
    assert [row[:3] for row in told(registry, call.__wrapped__.__qualname__)] == [("us", "gpt", 1), ("eu", "gpt", 1)]


async def test_a_refused_answer_is_counted_once_for_each_time_that_it_was_given(registry):
    class RefusedError(ConnectionError):
        reply = Reply("no", usage=Usage(7, 1), model="gpt")

    count(registry)
    ask = asking(registry, RefusedError())

    assert await ask() == "later"
    assert told(registry, "counted_ask") == [("us", "gpt", 1, 7, 1, 0), ("eu", "gpt", 1, 7, 1, 0)]


async def test_an_answer_that_tells_nothing_is_counted_as_one_without_usage(registry):
    count(registry)
    ask = asking(registry, "text")
    await ask()

    assert told(registry, "counted_ask") == [("us", None, 1, 0, 0, 1)]
    assert registry.usage["counted_ask"].without_usage == 1


async def test_a_mock_is_one_answer_although_it_has_the_methods_of_a_stream(registry):
    count(registry)
    await circuit_breaker(registry=registry)(scripted(MagicMock(model=None, usage=None)))()

    assert registry.usage[next(iter(registry.usage))].calls == 1


async def test_a_failure_that_says_nothing_is_no_answer(registry):
    count(registry)
    ask = asking(registry, ConnectionResetError())

    assert await ask() == "later"
    assert list(registry.usage) == []


async def test_a_method_and_a_bare_breaker_are_counted_too(registry):
    class Client:
        @failover(US, registry=registry, name="m")
        async def ask(self, endpoint, text):
            return ANSWER

        @circuit_breaker("b", registry=registry)
        async def plain(self):
            return ANSWER

    count(registry)
    client = Client()
    await client.ask("x")
    await client.plain()
    kept = client.ask
    await kept("y")

    names = {name.rpartition(".")[2]: name for name in registry.usage}
    assert told(registry, names["ask"]) == [("us", "gpt", 2, 20, 4, 0)]
    assert told(registry, names["plain"]) == [(None, "gpt", 1, 10, 2, 0)]


def test_a_plain_function_is_counted_too(registry):
    count(registry)

    @circuit_breaker(registry=registry)
    def ask(text):
        report_usage(Usage(1, 1), "mine")
        return ANSWER

    @circuit_breaker(registry=registry)
    def read(text):
        return ANSWER

    assert (ask("x"), read("x")) == ("hello", "hello")
    assert [told(registry, name) for name in registry.usage] == [
        [(None, "mine", 1, 1, 1, 0)],
        [(None, "gpt", 1, 10, 2, 0)],
    ]


async def test_fifty_models_have_rows_of_their_own_and_the_others_share_one(registry):
    count(registry)
    ask = asking(registry, [Reply("x", usage=Usage(1), model=f"m{number}") for number in range(60)])
    for _ in range(60):
        await ask()
    rows = registry.usage["counted_ask"].rows

    assert len(rows) == 51
    assert (rows[-1].model, rows[-1].calls) == ("other", 10)


async def test_a_model_keeps_its_name_at_every_one_of_many_endpoints(registry):
    count(registry)
    many = [Endpoint(f"e{number}") for number in range(60)]
    ask = failover(*many, registry=registry)(scripted(ANSWER))
    for _ in many:
        await ask()
    rows = registry.usage[next(iter(registry.usage))]

    assert [(row.model, row.calls) for row in rows] == [("gpt", 1)] * 60


async def test_a_reset_forgets_and_a_switched_off_registry_counts_nothing(registry):
    count(registry)
    ask = asking(registry)
    await ask()
    registry.reset()
    with registry.disabled():
        await ask()

    assert list(registry.usage) == []


async def test_an_isolated_registry_counts_apart():
    with isolated_registry() as outer:
        count(outer)
        ask = asking(None)
        with isolated_registry() as inner:
            await ask()
            assert inner.meters is None
            count(inner)
            await ask()

            assert inner.usage["counted_ask"].calls == 1
        await ask()

        assert outer.usage["counted_ask"].calls == 1


async def test_the_table_shows_what_is_there(registry):
    assert repr(registry.usage) == "no usage yet"
    registry.price = lambda model, usage: 0.25 if model == "gpt" else None
    ask = asking(registry, [ANSWER, "text"])
    await ask()
    await ask()
    lines = [line.split() for line in repr(registry.usage).splitlines()]

    assert lines[0] == "call_site endpoint model calls input output cached reasoning usd unknown".split()  # noqa: SIM905
    assert lines[1] == ["counted_ask", "us", "gpt", "1", "10", "2", "0", "0", "0.250000"]
    assert lines[2] == ["counted_ask", "us", "?", "1", "0", "0", "0", "0", "?", "1"]
    assert repr(registry.usage["counted_ask"]) == repr(registry.usage)


def test_describe_and_repr_stay_what_they_are(registry):
    ask = asking(registry)
    before = repr(ask), repr(describe(ask))
    count(registry)

    assert (repr(ask), repr(describe(ask))) == before


# -- told from inside


async def test_what_is_told_inside_counts_in_place_of_what_the_result_says(registry):
    count(registry)

    @failover(US, registry=registry)
    async def ask(endpoint):
        report_usage(Usage(1, 1), "mine")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_a_task)
        return ANSWER

    async def in_a_task():
        report_usage(Usage(2, 2), "mine")

    await ask()

    assert [row[:5] for row in told(registry, next(iter(registry.usage)))] == [("us", "mine", 2, 3, 3)]


async def test_telling_outside_of_a_call_or_unheard_does_nothing(registry):
    report_usage(Usage(1))
    circuit = circuit_breaker(registry=registry)(reporting)
    await circuit()
    with pytest.raises(TypeError, match=r"report_usage\(\) needs a Usage, got a dict"):
        report_usage({"input_tokens": 1})

    assert registry.meters is None


async def reporting():
    report_usage(Usage(4, 4), "m")


async def test_a_function_within_a_function_is_counted_at_both_and_seen_once(registry):
    count(registry)
    inner = asking(registry, name="inner")

    async def outer():
        return await inner()

    outer.__qualname__ = "outer"
    call = classified_retry(registry=registry)(outer)
    with watch() as seen:
        await call()

    assert seen.usage == Usage(10, 2)
    assert (told(registry, "inner")[0][2:], told(registry, "outer")[0][2:]) == ((1, 10, 2, 0), (1, 10, 2, 0))


# -- watch()


@pytest.mark.parametrize("counted", [False, True])
async def test_who_watches_sees_the_usage_of_all_attempts(registry, counted, clock):
    if counted:
        count(registry)
    ask = asking(registry, [Reply("x", usage=Usage(1, 1)), Reply("x", usage=Usage(2, 2))])
    with watch() as seen:
        await ask()
        await ask()
    with watch() as nothing:
        await circuit_breaker(registry=registry)(scripted("text"))()

    assert seen.usage == Usage(3, 3)
    assert nothing.usage is None


async def test_who_watches_a_batch_sees_the_usage_of_all_of_it(registry):
    @batched(batch_size=2, registry=registry)
    async def ask(items):
        report_usage(Usage(len(items)))
        return items

    seen = []

    async def one(item):
        with watch() as facts:
            await ask(item)
        seen.append(facts.usage)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, 1)
        tasks.start_soon(one, 2)

    assert seen == [Usage(2), Usage(2)]


# -- money


async def test_answers_have_a_price_where_somebody_knows_one(registry):
    asked = []

    def price(model, usage):
        asked.append(model)
        return 0.5 * usage.output_tokens if model == "gpt" else None

    registry.price = price
    ask = asking(registry, [ANSWER, ANSWER, Reply("x", usage=Usage(1), model="new"), Reply("x", usage=Usage(1))])
    for _ in range(4):
        await ask()
    site = registry.usage["counted_ask"]

    assert registry.price is price
    assert asked == ["gpt", "gpt", "new"]
    assert (site.cost, site.without_price, site.without_usage) == (2.0, 2, 0)
    assert [row.cost for row in site] == [2.0, None, None]


async def test_without_a_price_money_is_unknown_and_never_zero(registry):
    count(registry)
    await asking(registry)()

    assert registry.price is None
    assert (registry.usage["counted_ask"].cost, registry.usage["counted_ask"].without_price) == (None, 1)


async def test_a_price_that_raises_loses_no_answer_and_is_logged_once(registry, caplog):
    registry.price = lambda model, usage: 1 / 0
    ask = asking(registry)
    assert [await ask(), await ask()] == ["hello", "hello"]

    assert registry.usage["counted_ask"].cost is None
    assert [line.message for line in caplog.records if "price_failed" in line.message] == [
        "event=resilient_ai.price_failed model=gpt error_type=ZeroDivisionError"
    ]


def test_a_price_must_be_a_function(registry):
    with pytest.raises(TypeError, match=r"registry.price must be a function of \(model, Usage\) or None, got 3"):
        registry.price = 3
