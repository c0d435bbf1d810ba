"""A registry's modes hold for plain functions."""

from __future__ import annotations

import pytest

from resilient_ai import (
    AIServiceError,
    CircuitOpenError,
    ErrorType,
    RetryRule,
    circuit_breaker,
    classified_retry,
)
from resilient_ai.testing import isolated_registry

RULES = {ErrorType.NETWORK_ERROR: RetryRule(2, 9, 9, jitter="none")}


class Service:
    """Decorated in a module of an application, on the default registry."""

    def __init__(self):
        self.calls = 0

    @classified_retry("plain modes", rules=RULES)
    @circuit_breaker("plain modes", failure_threshold=10)
    def ask(self, *, down=True):
        self.calls += 1
        if down:
            raise ConnectionError
        return "answer"


def test_what_was_decorated_before_follows_an_isolated_registry_and_its_virtual_clock():
    service = Service()
    kept = service.ask
    with isolated_registry() as fresh:
        for ask in (service.ask, kept):
            with pytest.raises(AIServiceError):
                ask()
        inside = fresh.circuit_breakers["plain modes"].stats().total_failures
        waited = fresh.clock.now()

    assert (service.calls, inside, waited) == (6, 6, 36)
    assert service.ask(down=False) == "answer"


def test_switched_off_it_is_the_bare_function():
    service = Service()
    with isolated_registry() as fresh:
        with fresh.disabled(), pytest.raises(ConnectionError):
            service.ask()
        seen = fresh.as_dict()

    assert service.calls == 1
    assert seen == {}


async def test_in_a_test_of_a_program_it_does_not_wait_and_needs_not_to_in_a_loop_either(anyio_backend):
    service = Service()
    with isolated_registry() as fresh:
        with fresh.testing(attempts=3), pytest.raises(AIServiceError) as caught:
            service.ask()
        waited = fresh.clock.now()

    assert (caught.value.attempts, service.calls, waited) == (3, 3, 0)


def test_an_operators_hand_holds_for_plain_functions():
    service = Service()
    with isolated_registry() as fresh:
        assert service.ask(down=False) == "answer"
        fresh.circuit_breakers["plain modes"].force_open()
        with pytest.raises(AIServiceError) as caught:
            service.ask(down=False)

    assert isinstance(caught.value.__cause__, CircuitOpenError)
