"""What a retry does when its settings are changed: the budget's level stays, calls that begin go by the new rules."""

from __future__ import annotations

import pytest

from resilient_ai import AIServiceError, ErrorType, RetryBudget, RetryRule, classified_retry
from tests.helpers import scripted


@pytest.fixture
def change(registry):
    return lambda **settings: registry.configure({"ask": {"classified_retry": settings}})


async def attempts(ask):
    with pytest.raises(AIServiceError) as caught:
        await ask()
    return caught.value.attempts


async def attempts_of(registry, clock, error):
    ask = classified_retry("ask", registry=registry)(scripted(error))
    async with clock.autojump():
        return await attempts(ask)


@pytest.mark.parametrize(
    ("rules", "made"),
    [
        ({}, 4),
        ({"network_error": {"max_retries": 1}}, 2),
        ({ErrorType.NETWORK_ERROR: RetryRule(2, 0.1, 0.2)}, 3),
        ({"network_error": None}, 1),
        ({"timeout": None}, 4),
    ],
)
async def test_single_rules_and_single_values_of_a_rule_change(registry, clock, change, rules, made):
    if rules:
        change(rules=rules)

    assert await attempts_of(registry, clock, ConnectionError()) == made


async def test_a_value_within_a_rule_beats_the_whole_rule_of_a_weaker_pattern(registry, clock):
    registry.configure({"a*": {"classified_retry": {"rules": {"network_error": RetryRule(5, 0.1, 0.2)}}}})
    registry.configure({"ask": {"classified_retry": {"rules": {"network_error": {"max_retries": 1}}}}})

    assert await attempts_of(registry, clock, ConnectionError()) == 2


async def test_the_level_of_the_budget_stays_as_far_as_there_is_room(registry, clock, change):
    budget = RetryBudget(capacity=50, per_second=0, price=5)
    ask = classified_retry("ask", budget=budget, registry=registry)(scripted(ConnectionError()))
    async with clock.autojump():
        await attempts(ask)
    level = registry.retries["ask"].stats().budget
    assert level == 35

    change(budget={"capacity": 200})
    assert registry.retries["ask"].stats().budget == 35
    change(budget={"capacity": 7})
    assert registry.retries["ask"].stats().budget == 7
    async with clock.autojump():
        assert await attempts(ask) == 2  # one retry is paid for


async def test_a_budget_can_go_and_come_back_full(registry, change):
    classified_retry("ask", registry=registry)(scripted("answer"))
    change(budget=None)
    assert registry.retries["ask"].stats().budget is None

    change(budget={"capacity": 9})
    assert registry.retries["ask"].stats().budget == 9
