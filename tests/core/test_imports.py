"""The time in which an SDK is imported is nobody's latency."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from resilient_ai import ErrorType
from resilient_ai._circuit_breaker.record import CallRecord
from resilient_ai._core.imports import importing, met_an_import
from resilient_ai._failover.health import EndpointHealth


def test_only_what_ran_while_something_was_imported_has_met_an_import():
    earlier, before = time.monotonic(), time.monotonic()  # in this process, earlier tests may have imported something
    with importing():
        inside = time.monotonic()
        assert not met_an_import(before, inside)  # known once it is over
    after = time.monotonic()

    assert met_an_import(before, after)
    assert met_an_import(inside, inside + 100)
    assert not met_an_import(after, after + 100)
    assert not met_an_import(earlier, before)


def test_imports_at_the_same_time_are_one_span():
    with importing():
        began = time.monotonic()
        with importing():
            pass
        assert not met_an_import(began, time.monotonic())

    assert met_an_import(began, time.monotonic())


def test_an_import_that_fails_has_taken_its_time_too():
    began = time.monotonic()
    with pytest.raises(ImportError), importing():
        raise ImportError

    assert met_an_import(began, time.monotonic())


def test_a_circuits_p95_leaves_out_answers_that_waited_for_an_import():
    record = CallRecord()
    with importing():
        pass
    now = time.monotonic()
    record.answered(now, 5.0)

    assert record.p95() is None
    record.answered(now + 2.0, 1.0)
    assert record.p95() == pytest.approx(1.0)
    assert record.recent(now + 3.0) == (2, 2)


def test_an_endpoints_latency_leaves_them_out_as_well():
    health = EndpointHealth()
    with importing():
        pass
    now = time.monotonic()
    health.succeed(health.admit(now), now, 5.0)

    assert (health.latency(), health.quantile(0.95)) == (None, None)
    health.succeed(health.admit(now), now + 2.0, 1.0)
    assert (health.latency(), health.quantile(0.95)) == (pytest.approx(1.0), pytest.approx(1.0))
    assert health.ok == 2


def test_the_first_call_of_a_program_shows_no_time_and_the_second_one_does():
    pytest.importorskip("openai")
    code = """
import anyio
from resilient_ai import Registry, circuit_breaker, failover
from resilient_ai.providers import OpenAIEndpoint
from resilient_ai.testing import FakeProvider

registry = Registry(listeners=())

async def main():
    with FakeProvider("fake") as provider:
        async with OpenAIEndpoint("us", model="m", base_url=provider.base_url, api_key="none") as us:
            @failover(us, registry=registry)
            @circuit_breaker("ask", registry=registry)
            async def ask(endpoint):
                return await endpoint.complete("hi")

            for _ in range(2):
                await ask()
                print([row.calls > 0 and row.p95 is None for row in registry.rows() if row.policy != "failover"])

anyio.run(main)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.splitlines() == ["[True, True]", "[False, False]"]


def test_failures_are_counted_whatever_was_imported_meanwhile():
    health = EndpointHealth()
    with importing():
        pass
    now = time.monotonic()
    health.fail(health.admit(now), now, ErrorType.TIMEOUT, interval=30.0, hint=None, roll=0.5, forgiving=False)

    assert health.failures == 1
