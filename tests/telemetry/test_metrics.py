"""Both exporters show the same numbers, which are those of the registry, and no counter ever falls."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import pairwise

import anyio
import pytest

from resilient_ai import ErrorType, Registry, circuit_breaker, classified_retry, degrade_to, failover, rate_limit
from resilient_ai._core.measurements import ATTEMPT, Measurements, Series, TimeSource
from resilient_ai.telemetry import collector, instrument
from resilient_ai.testing import VirtualClock
from tests.helpers import ProviderError, scripted
from tests.telemetry.support import EU, US, OpenTelemetry, Prometheus, batch, calls, stack

pytestmark = pytest.mark.usefixtures("provider_errors")

DOWN = ProviderError(ErrorType.MODEL_OVERLOADED)


async def us_is_down(endpoint, text):
    if endpoint is US:
        raise DOWN
    return text


def as_prometheus(name: str, unit: str) -> str:
    return name.replace(".", "_") + ("_seconds" if unit == "s" else "")


async def test_both_exporters_show_the_same_metrics_with_the_same_numbers(registry):
    prometheus, otel = Prometheus(registry), OpenTelemetry(registry, spans=False)
    await calls(stack(registry, us_is_down), *"abcd")
    async with anyio.create_task_group() as tasks:
        embed = batch(registry)
        tasks.start_soon(embed, "a"), tasks.start_soon(embed, "b")
    shown, told = prometheus.scrape(), otel.metrics()
    otel.off()

    # OpenTelemetry has no metric without a point.
    named = {as_prometheus(name, unit) for name, (unit, _) in told.items()}
    with_points = {name for name in prometheus.families() if any(each.startswith(name[13:]) for each in shown)}
    assert named == with_points
    for name, (unit, points) in told.items():
        for attributes, point in points.items():
            value = getattr(point, "value", None)
            if value is not None:
                series = shown.get(as_prometheus(name, unit)[13:] + "_total") or shown[as_prometheus(name, unit)[13:]]
                assert {tuple(each for each in labels if each): number for labels, number in series.items()}[
                    attributes
                ] == value


async def test_histograms_of_both_have_the_same_buckets_and_sums(registry, clock: VirtualClock):
    async def slow(endpoint, text):
        clock.advance(float(text))
        return text

    prometheus, otel = Prometheus(registry), OpenTelemetry(registry, spans=False)
    await calls(stack(registry, slow), *["0.004", "0.005", "0.3", "3.0", "100.0"] * 90)
    shown, told = prometheus.scrape(), otel.metrics()
    otel.off()

    for name in ("attempt_duration_seconds", "call_duration_seconds"):
        [point] = told["resilient_ai." + name.removesuffix("_seconds").replace("_", ".")][1].values()
        upto = [number for labels, number in shown[f"{name}_bucket"].items() if "eu" not in labels]
        assert [after - before for before, after in pairwise([0, *upto])] == list(point.bucket_counts)
        assert [count for count in point.bucket_counts if count] == [180, 90, 90, 90]
        assert sum(shown[f"{name}_sum"].values()) == point.sum == pytest.approx(90 * 103.309)


async def test_what_callers_get_is_counted_by_how_it_ended(registry):
    prometheus = Prometheus(registry)
    outcomes = ["a", DOWN, "b", DOWN, DOWN, ProviderError(ErrorType.INVALID_REQUEST), "c"]
    await calls(stack(registry, scripted(*outcomes), failure_threshold=9), *"1234")

    counted = prometheus.scrape()
    assert counted["calls_total"] == {("ask", "ok"): 2, ("ask", "degraded"): 1, ("ask", "failed"): 1}
    assert counted["call_duration_seconds_count"] == counted["calls_total"]


async def test_only_the_outermost_policy_counts_calls(registry):
    inner = classified_retry("inner", registry=registry)(scripted("a"))
    outer = degrade_to("sorry", name="outer", registry=registry)(inner)
    await outer()

    assert Prometheus(registry).scrape()["calls_total"][("outer", "ok")] == 1
    assert ("inner", "ok") not in Prometheus(registry).scrape()["calls_total"]


async def test_a_rescued_call_took_all_its_attempts_and_waits(registry, clock: VirtualClock):
    prometheus = Prometheus(registry)
    outcomes = [DOWN, "a"]

    async def slow():
        clock.advance(3)
        if isinstance(outcome := outcomes.pop(0), Exception):
            raise outcome
        return outcome

    ask = classified_retry("ask", registry=registry)(circuit_breaker("ask", registry=registry)(slow))
    async with clock.autojump():
        await ask()
    shown = prometheus.scrape()

    delay = shown["retry_delay_seconds_sum"][("ask",)]
    assert shown["attempt_duration_seconds_sum"] == {("ask", "", "failed"): 3, ("ask", "", "ok"): 3}
    assert shown["call_duration_seconds_sum"] == {("ask", "ok"): pytest.approx(6 + delay)}


async def test_attempts_are_timed_without_a_circuit_too(registry, clock: VirtualClock):
    prometheus = Prometheus(registry)

    @failover(EU, name="ask", registry=registry)
    async def ask(endpoint):
        clock.advance(2)

    await ask()

    assert prometheus.scrape()["attempt_duration_seconds_sum"] == {("ask", "eu", "ok"): 2}
    assert prometheus.scrape()["call_duration_seconds_sum"] == {("ask", "ok"): 2}


async def test_a_key_is_no_label_and_keys_are_added_up(registry):
    prometheus = Prometheus(registry)
    ask = circuit_breaker("ask", key=lambda text: text, failure_threshold=1, registry=registry)(
        scripted("a", "b", DOWN)
    )
    await calls(ask, "tenant-1", "tenant-2", "tenant-3")
    shown = prometheus.scrape()

    assert not [labels for series in shown.values() for labels in series if "tenant" in str(labels)]
    assert shown["circuit_calls_total"][("ask", "", "ok")] == 2
    assert shown["circuits"][("ask", "", "open")] == 1
    assert shown["circuits"][("ask", "", "closed")] == 2
    assert shown["attempt_duration_seconds_count"] == {("ask", "", "ok"): 2, ("ask", "", "failed"): 1}


async def test_every_error_type_is_there_from_the_first_day(registry):
    """Prometheus sees no increase where a series begins with 1."""
    stack(registry, us_is_down)

    shown = Prometheus(registry).scrape()
    assert {labels[1] for labels in shown["attempts_failed_total"]} == set(ErrorType)
    assert shown["degraded_total"] == {("ask", "static"): 0}


async def test_no_number_falls_when_states_are_reset_dropped_or_replaced(clock: VirtualClock):
    registry = Registry(clock=clock, listeners=())
    prometheus = Prometheus(registry)
    ask = circuit_breaker("keyed", key=lambda text: text, registry=registry)(scripted("a"))
    full = stack(registry, us_is_down)
    before = {}
    for step in range(4):
        await calls(ask, *"abc")
        await calls(full, *"abc")
        if step == 1:
            registry.reset()
        elif step == 2:
            clock.advance(10_000)  # idle keys go
        shown = prometheus.scrape()
        rising = {
            (name, labels): number
            for name, series in shown.items()
            for labels, number in series.items()
            if name.endswith(("_total", "_bucket", "_sum", "_count"))
        }

        assert not {series for series, number in before.items() if rising[series] < number - 1e-9}
        before = rising
    assert shown["circuit_calls_total"][("keyed", "", "ok")] == 12
    assert shown["attempt_duration_seconds_count"][("keyed", "", "ok")] == 12


@pytest.mark.parametrize("each", [2_000, pytest.param(12_500, marks=pytest.mark.slow)])
def test_histograms_count_every_call_of_many_threads_and_a_reset(each):
    registry = Registry(listeners=())
    prometheus = Prometheus(registry)
    ask = classified_retry("ask", registry=registry)(
        circuit_breaker("ask", timeout_seconds=None, registry=registry)(scripted("a"))
    )

    async def many():
        for _ in range(each):
            await ask()

    threads = [threading.Thread(target=anyio.run, args=(many,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    registry.circuit_breakers["ask"].reset()
    prometheus.scrape()
    for thread in threads:
        thread.join()
    shown = prometheus.scrape()

    late = shown["circuit_calls_total"][("ask", "", "late")]  # what was under way when it was reset
    answered = shown["circuit_calls_total"][("ask", "", "ok")]
    assert answered + late == 8 * each
    assert shown["attempt_duration_seconds_count"][("ask", "", "ok")] == answered
    assert shown["call_duration_seconds_count"][("ask", "ok")] == answered


def test_a_call_bears_that_another_thread_folds_all_times_while_it_waits_to_fold_some():
    measurements, series = Measurements(), Series(ATTEMPT, "ask", outcome="ok")

    class Circuit:
        def time_source(self):
            return TimeSource(series, None)

    class ReadFirst:
        """A lock that another thread gets first, to read."""

        def __init__(self, lock):
            self.lock = lock

        def __enter__(self):
            measurements._lock = self.lock
            measurements.read(())
            self.lock.acquire()

        def __exit__(self, *error):
            self.lock.release()

    for _ in range(50):
        measurements.hand_over(Circuit(), [1.0, 0.5])
    measurements._lock = ReadFirst(measurements._lock)
    measurements.hand_over(Circuit(), [1.0, 0.5])

    assert sum(measurements.read(())[series].counts) == 51


async def test_more_than_two_thousand_series_of_a_metric_are_left_out_and_counted(registry):
    for number in range(700):
        classified_retry(f"site {number}", registry=registry)(scripted("a"))
    shown = Prometheus(registry).scrape()

    assert len(shown["calls_total"]) == 2_000
    assert len(shown["attempts_failed_total"]) == 2_000
    assert shown["series_dropped"][()] == 100 + 700 * 14 - 2_000


async def test_events_are_counted_by_call_site_kind_and_type_of_error(registry):
    prometheus = Prometheus(registry)
    await calls(stack(registry, us_is_down), *"abc")

    assert prometheus.scrape()["events_total"] == {("", "us", "endpoint_down", "model_overloaded"): 1}


async def test_nobody_measures_any_more_once_all_exporters_are_off(registry):
    ask = stack(registry, us_is_down)
    off = instrument(registry, spans=False)
    other = instrument(registry, spans=False)
    await ask("a")
    off(), off()
    measured = bool(registry.histograms())
    other()
    await ask("b")

    assert measured
    assert registry.histograms() == {}


async def test_an_instrument_that_is_off_shows_nothing(registry):
    otel = OpenTelemetry(registry, spans=False)
    await calls(stack(registry, us_is_down), "a")
    otel.off()

    assert otel.metrics() == {}


def test_registering_reads_no_state(registry):
    assert collector(registry).describe() == []


def test_several_processes_behind_one_port_are_refused_with_a_way_out(registry, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/tmp")

    with pytest.raises(RuntimeError, match=r"PROMETHEUS_MULTIPROC_DIR .* use instrument\(\) and OTLP"):
        collector(registry)


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [("prometheus_client", "collector", "prometheus"), ("opentelemetry", "instrument", "otel")],
)
def test_a_missing_package_is_named_with_its_extra(package, call, extra):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from resilient_ai import registry\nfrom resilient_ai.telemetry import {call}\n"
        f"try: {call}(registry)\nexcept ImportError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert f"needs the package {package} for this: pip install 'resilient-ai[{extra}]'" in told


async def test_what_a_known_quota_turns_away_is_counted(registry):
    @rate_limit("ask", requests_per_minute=1, max_wait=0.0, registry=registry)
    async def ask(text):
        return text

    await calls(ask, *"abc")

    assert Prometheus(registry).scrape()["rate_limit_refused_total"] == {("ask", ""): 2}
