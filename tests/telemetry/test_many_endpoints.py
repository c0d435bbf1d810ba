"""Endpoints and names that are made for each request: beyond a bound they are one series, and no sum falls."""

from __future__ import annotations

from collections import Counter

import pytest

from resilient_ai import Endpoint, circuit_breaker, classified_retry, failover
from resilient_ai._core.measurements import MOST_OF_ALL, MOST_OF_ENDPOINTS
from resilient_ai.telemetry._folding import Folding
from tests.helpers import trio_in_ci
from tests.telemetry.support import OpenTelemetry, Prometheus, calls

BY_ENDPOINT = {
    "endpoint_calls_total": 0,
    "endpoint_failures_total": 0,
    "circuit_calls_total": 1,
    "attempt_duration_seconds_count": 1,
    "events_total": 1,
}


def made(registry, number):
    """A function with an endpoint of its own, as one makes for each tenant."""

    @classified_retry("ask", max_attempts=1, registry=registry)
    @failover(Endpoint(f"tenant {number}"), name=f"ask {number}", registry=registry)
    @circuit_breaker("ask", failure_threshold=1, registry=registry)
    async def ask(endpoint, fails):
        if fails:
            raise ConnectionError("refused")

    return ask


async def use(registry, numbers) -> None:
    for number in numbers:
        await calls(made(registry, number), False, True)


@trio_in_ci
async def test_their_series_are_bounded_their_sums_are_whole_and_both_exporters_show_the_same(registry):
    prometheus, otel = Prometheus(registry), OpenTelemetry(registry, spans=False)
    await use(registry, range(1_600))
    shown = prometheus.scrape()
    _, points = otel.metrics()["resilient_ai.endpoint.calls"]

    for metric, place in BY_ENDPOINT.items():
        named = [labels for labels in shown[metric] if labels[place] not in ("", "(others)")]
        assert 1_000 < len(named) <= MOST_OF_ENDPOINTS, metric
        assert any(labels[place] == "(others)" for labels in shown[metric]), metric
        assert len(shown[metric]) <= 2_000, metric
    assert {labels: point.value for labels, point in points.items()} == shown["endpoint_calls_total"]
    assert sum(shown["endpoint_calls_total"].values()) == 3_200
    assert sum(shown["endpoint_failures_total"].values()) == 1_600
    assert sum(shown["circuit_calls_total"].values()) == 3_200
    assert sum(shown["attempt_duration_seconds_count"].values()) == 3_200


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_of_names_that_are_made_for_each_request_the_first_have_series_and_the_sums_are_whole(registry):
    async def ask(fails):
        if fails:
            raise ConnectionError("refused")

    prometheus = Prometheus(registry)
    for number in range(2_000):
        await calls(circuit_breaker(f"job {number}", failure_threshold=1, registry=registry)(ask), True)
    shown = prometheus.scrape()

    for metric in ("attempt_duration_seconds_count", "call_duration_seconds_count", "events_total"):
        assert sum(shown[metric].values()) == 2_000
        assert MOST_OF_ALL <= len(shown[metric]) < 2_000, metric


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_their_sums_never_fall_whichever_endpoints_come_and_go(registry, clock):
    prometheus, before = Prometheus(registry), Counter()
    for step in range(4):
        await use(registry, range(step * 500, step * 500 + 600))
        if step % 2:
            registry.reset()
        else:
            clock.advance(100_000)
        shown = prometheus.scrape()
        sums = Counter({metric: sum(shown[metric].values()) for metric in BY_ENDPOINT})
        others = {
            (metric, labels): number
            for metric, place in BY_ENDPOINT.items()
            for labels, number in shown[metric].items()
            if labels[place] == "(others)"
        }

        assert all(sums[metric] >= before[metric] for metric in BY_ENDPOINT)
        assert all(others[series] >= before[series] for series in before if isinstance(series, tuple))
        before = sums | Counter(others)


def test_an_endpoint_for_which_there_was_no_room_stays_among_the_others_when_there_is():
    folding = Folding()
    many = {(f"tenant {number}", "ok"): 1.0 for number in range(MOST_OF_ENDPOINTS + 2)}
    found = {"endpoint.calls": dict(many)}
    folding.fold(found)
    assert found["endpoint.calls"]["(others)", "ok"] == 2

    later = {"endpoint.calls": dict(list(many.items())[MOST_OF_ENDPOINTS // 2 :])}
    folding.fold(later)

    assert later["endpoint.calls"]["(others)", "ok"] == 2


def test_of_seconds_to_wait_the_others_show_the_longest():
    found = {"endpoint.resting": {(f"tenant {number}",): float(number) for number in range(MOST_OF_ENDPOINTS + 3)}}
    Folding().fold(found)

    assert found["endpoint.resting"][("(others)",)] == MOST_OF_ENDPOINTS + 2
