"""The registry's table: columns that mean the same in every row, and never more than a screen."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import (
    AIServiceError,
    Endpoint,
    ErrorType,
    adaptive_limit,
    batched,
    circuit_breaker,
    classified_retry,
    degrade_to,
    failover,
)
from resilient_ai._core.report import Row
from resilient_ai._core.table import LEGEND, MOST_LINES, MOST_OF_A_KIND, WIDTH, folded, html_table, text_table
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


def site(name, *, failed=0, alarm=False, state="closed"):
    """The four rows of a call site that has had a hundred calls."""
    ok = 100 - failed
    return [
        Row(name, "degrade_to", "", 100, ok, failed, degraded=0),
        Row(name, "classified_retry", "budget 100", 100, ok, failed, retried=3),
        Row(f"{name}[eu]", "circuit_breaker", state, 60, 60, 0, p95=0.25, neutral=None, alarm=alarm),
        Row(f"{name}[us]", "circuit_breaker", "closed", 40, 40, 0, p95=0.5),
    ]


def names(rows):
    return [row.call_site for row in rows]


# -- what the columns count


async def test_every_call_is_ok_failed_degraded_or_neutral_in_the_table_and_in_the_statistics(registry, clock):
    answer = scripted([1], ProviderError("rate_limit"), [1], *[ProviderError("model_overloaded")] * 6, [1])

    @degrade_to("sorry", name="ask", registry=registry)
    @batched("ask", batch_size=1, registry=registry)
    @classified_retry("ask", max_attempts=2, registry=registry)
    @failover(Endpoint("eu"), Endpoint("us"), name="ask", registry=registry)
    @adaptive_limit("ask", registry=registry)
    @circuit_breaker("ask", registry=registry)
    async def ask(endpoint, items):
        return await answer()

    async with clock.autojump():
        for _ in range(4):
            await ask(1)
    rows = registry.rows()

    assert {row.policy for row in rows} >= {"degrade_to", "batched", "classified_retry", "failover", "endpoint"}
    assert sum(row.failed or 0 for row in rows) > 0
    for row in rows:
        assert row.calls == sum(each or 0 for each in (row.ok, row.failed, row.degraded, row.neutral)), row
    plain = [(kind, numbers) for kind, states in registry.as_dict().items() for numbers in states.values()]
    for kind, numbers in plain:
        ended = (numbers["ok"], numbers["failed"], numbers.get("neutral", 0), numbers.get("degraded", 0))
        assert numbers["calls"] == sum(ended), kind
    assert sorted((kind, numbers["calls"], numbers["ok"], numbers["failed"]) for kind, numbers in plain) == sorted(
        (row.policy, row.calls, row.ok, row.failed) for row in rows
    )


@pytest.mark.parametrize("policy", [circuit_breaker, adaptive_limit])
async def test_a_call_whose_caller_left_is_seen_as_neutral(policy, registry):
    async def hangs():
        await anyio.sleep_forever()

    ask = policy("ask", registry=registry)(hangs)
    with anyio.move_on_after(0.01):
        await ask()
    (row,) = registry.rows()

    assert (row.calls, row.ok, row.failed, row.neutral) == (1, 0, 0, 1)
    assert "neutral" in repr(registry).splitlines()[0]


async def test_a_throttled_call_is_neutral_to_a_circuit(registry):
    ask = circuit_breaker("ask", registry=registry)(scripted(ProviderError("rate_limit")))
    with pytest.raises(ProviderError):
        await ask()

    assert [row.neutral for row in registry.rows()] == [1]


async def test_a_move_to_another_endpoint_is_no_retry(registry):
    ask = failover(Endpoint("eu"), Endpoint("us"), name="ask", registry=registry)(scripted(OSError(), "pong"))
    await ask()
    row = registry.failovers["ask"].row()

    assert row.retried is None
    assert row.state.endswith("moved on once")


async def test_the_time_a_batch_waits_is_not_shown_as_the_time_of_an_answer(registry):
    @batched("ask", batch_size=1, registry=registry)
    async def ask(items):
        return items

    await ask(1)

    assert registry.batches["ask"].row().p95 is None


async def test_retries_are_counted_where_they_were_made(registry, clock):
    ask = classified_retry("ask", registry=registry)(scripted(ProviderError("timeout"), "pong"))
    async with clock.autojump():
        await ask()

    assert [(row.calls, row.ok, row.retried) for row in registry.rows()] == [(1, 1, 1)]


# -- names


async def test_no_locals_in_a_name(registry):
    @circuit_breaker(registry=registry)
    async def ask(): ...

    shown = "test_no_locals_in_a_name.ask"

    assert shown in repr(registry)
    assert "<locals>" not in repr(registry) + registry._repr_html_()
    assert registry.circuit_breakers[shown] is registry.circuit_breakers[ask.__qualname__]
    assert shown in registry.circuit_breakers
    assert registry.find(shown) == registry.find("*.ask") == registry.find("ask")


# -- which rows


def test_few_rows_are_shown_as_they_come():
    sites = [site("b"), site("a", failed=90, alarm=True)]

    assert folded(sites) == [*sites[0], *sites[1]]


def test_of_many_call_sites_those_in_trouble_come_first_in_full_and_the_others_take_a_line_each():
    sites = [site(f"well-{number}") for number in range(28)]
    sites[7:7] = [site("failing", failed=20)]
    sites[20:20] = [site("shut", alarm=True, state="open, probe in 30.0 s")]
    rows = folded(sites)

    assert len(rows) <= MOST_LINES
    assert names(rows[:8]) == names(site("shut")) + names(site("failing"))
    assert names(rows[8:]) == [f"well-{number}" for number in range(28)]
    assert {(row.policy, row.state) for row in rows[8:]} == {("4 folded", "well")}


def test_a_folded_call_site_shows_what_its_caller_sees():
    (row,) = (row for row in folded([site(f"site-{number}") for number in range(30)]) if row.call_site == "site-3")

    assert (row.calls, row.ok, row.failed, row.retried, row.degraded, row.p95) == (100, 100, 0, 3, 0, 0.5)


def test_a_folded_call_site_counts_the_calls_of_all_its_endpoints():
    """In a view of one kind there is no policy further out that sees every call."""
    sites = [
        [Row(f"f{number}[{endpoint}]", "circuit_breaker", "closed", calls, calls, 0) for endpoint, calls in shares]
        for number, shares in enumerate([(("us", 3), ("eu", 4))] * 25)
    ]

    assert {row.calls for row in folded(sites)} == {7}


def test_when_all_are_in_trouble_the_worst_are_in_full_and_the_others_say_what_is_wrong():
    sites = [site(f"site-{number}", failed=number, alarm=True, state="open") for number in range(30)]
    rows = folded(sites)

    assert len(rows) <= MOST_LINES
    assert names(rows[:8]) == names(site("site-29")) + names(site("site-28"))
    assert {row.state for row in rows if row.policy == "4 folded"} == {"circuit_breaker open"}


@pytest.mark.parametrize("count", [50, 1000])
def test_any_number_of_call_sites_fits_and_every_call_is_counted(count):
    rows = folded([site(f"site-{number}", failed=number % 3) for number in range(count)])
    outermost = [row for row in rows if row.policy in ("degrade_to", "4 folded", "")]

    assert len(rows) == MOST_LINES
    assert rows[-1].call_site.endswith("more")
    assert sum(row.calls for row in outermost) == count * 100


def test_of_many_keys_the_worst_are_shown_and_the_rest_summed_up():
    rows = folded([[Row(f"ask[{n}]", "circuit_breaker", "closed", 10, 10, 0) for n in range(50)]])
    worse = folded([[Row(f"ask[{n}]", "circuit_breaker", "open", 10, 10, 0, alarm=n == 33) for n in range(50)]])

    assert len(rows) == MOST_OF_A_KIND
    assert (rows[-1].call_site, rows[-1].calls, rows[-1].state) == ("ask[… 45 more]", 450, "well")
    assert worse[0].call_site == "ask[33]"


# -- how they look


def test_a_line_is_no_longer_than_a_screen_and_keeps_the_end_of_a_name():
    long = "package.module.Class.method_with_a_very_long_name_" + "x" * 100 + ".ask[eu-west-1]"
    text = text_table([Row(long, "circuit_breaker", "open, " * 40, 1, 1, 0)])

    assert max(map(len, text.splitlines())) <= WIDTH
    assert ".ask[eu-west-1]" in text
    assert "…" in text


def test_the_table_says_below_what_its_columns_count():
    rows = site("ask")

    assert text_table(rows).splitlines()[-1] == LEGEND
    assert len(LEGEND) <= WIDTH
    assert "calls = ok + failed" in html_table(rows)


def test_a_view_is_a_table_in_a_notebook_too(registry):
    assert registry.circuit_breakers._repr_html_() == "<p>no circuit_breaker yet</p>"

    @circuit_breaker("<ask>", registry=registry)
    async def ask(): ...

    assert "&lt;ask&gt;" in registry.circuit_breakers._repr_html_()
    assert registry.circuit_breakers._repr_html_().count("<tr>") == 2


async def test_what_a_user_sees_at_three_in_the_morning(registry):
    """Thirty call sites of four policies each, one of them down: what is wrong stands in the first lines."""
    for number in range(30):

        @degrade_to("sorry", name=f"job-{number}", registry=registry)
        @classified_retry(f"job-{number}", registry=registry)
        @circuit_breaker(f"job-{number}", failure_threshold=1, registry=registry)
        async def ask(fail=False):
            if fail:
                raise AIServiceError("x", OSError(), error_type=ErrorType.NETWORK_ERROR, attempts=1, elapsed=0.0)

    registry.circuit_breakers["job-17"].trip()
    lines = repr(registry).splitlines()

    assert len(lines) <= MOST_LINES + 2
    assert max(map(len, lines)) <= WIDTH
    assert [line.split()[0] for line in lines[1:4]] == ["job-17"] * 3
    assert "open" in lines[3]
