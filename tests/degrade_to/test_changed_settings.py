"""What a fallback does when its settings are changed: its rungs and their numbers stay."""

from __future__ import annotations

import pytest

from resilient_ai import degrade_to
from tests.helpers import scripted


async def test_another_time_for_a_rung_holds_from_the_next_call_on(registry, clock):
    async def slow(call):
        await clock.sleep(3)
        return "rule"

    ask = degrade_to(slow, "later", name="ask", registry=registry)(scripted(ConnectionError()))
    async with clock.autojump():
        assert await ask() == "rule"
        registry.configure({"ask": {"degrade_to": {"rung_timeout": 1}}})
        assert await ask() == "later"

    assert registry.degradations["ask"].stats().by_rung == {"slow": 1, "static": 1}


async def test_answers_can_be_marked(registry):
    ask = degrade_to(lambda call: "rule", name="ask", registry=registry)(scripted(ConnectionError()))
    registry.configure({"ask": {"degrade_to": {"mark": "prefix"}}})

    assert await ask() == "[RULE-BASED] rule"


def test_rungs_are_the_decorators_alone(registry):
    with pytest.raises(ValueError, match="rungs of degrade_to is set by the decorator alone"):
        registry.configure({"ask": {"degrade_to": {"rungs": ["later"]}}})
