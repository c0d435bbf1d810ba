"""Which settings are refused, and what they may be."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import AIServiceError, CircuitOpenError, ErrorType, Registry, RetryBudget, RetryRule, classified_retry
from resilient_ai.testing import VirtualClock
from tests.classified_retry.support import retrying, stats
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_attempts": 0}, "max_attempts must be an integer of at least 1, got 0"),
        ({"max_attempts": 2.5}, "max_attempts must be an integer of at least 1, got 2.5"),
        ({"max_elapsed": 0}, "max_elapsed must be a number above 0 or None, got 0"),
        ({"max_elapsed": float("nan")}, "max_elapsed must be a number above 0 or None, got nan"),
        ({"rules": {"rate_limit": None}}, "RetryRules or None, got 'rate_limit': None; write ErrorType.RATE_LIMIT$"),
        ({"rules": {"rate_limits": None}}, "RetryRules or None, got 'rate_limits': None$"),
        ({"rules": {ErrorType.TIMEOUT: 3}}, "rules maps ErrorTypes to RetryRules or None, got .*: 3"),
        ({"rules": [RetryRule(3, 1, 2)]}, "rules maps ErrorTypes to RetryRules or None, got \\[RetryRule"),
        ({"on": {ErrorType.QUOTA_EXCEEDED}}, "on names .*quota_exceeded.*, which has no rule"),
        ({"on": lambda error: True}, "on takes ErrorTypes such as .*, got <function"),
        ({"on": ErrorType.TIMEOUT}, "on takes ErrorTypes such as .*, got <ErrorType.TIMEOUT"),
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
