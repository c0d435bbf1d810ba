"""Which endpoint is asked first."""

from __future__ import annotations

from collections import Counter

import pytest

from resilient_ai import Endpoint
from tests.failover.support import AP, EU, US


async def test_round_robin_takes_turns(over):
    ask = over(US, EU, AP)

    assert [(await ask())[:2] for _ in range(6)] == ["us", "eu", "ap"] * 2


async def test_round_robin_deals_the_turns_of_a_resting_endpoint_out_evenly(over, regions):
    ask = over(US, EU, AP)
    regions.faults["eu"] = OSError("down")
    for _ in range(3):
        await ask()
    regions.was_asked()
    for _ in range(300):
        await ask()

    assert Counter(regions.was_asked()) == {"us": 150, "ap": 150}


async def test_priority_keeps_to_the_first_that_is_healthy(over, regions):
    ask = over(US, EU, AP, strategy="priority")
    answers = [await ask() for _ in range(3)]
    regions.faults["us"] = OSError("down")
    answers += [await ask() for _ in range(3)]

    assert answers == ["us: hi"] * 3 + ["eu: hi"] * 3


async def test_weighted_sends_in_proportion_and_nothing_to_weight_zero_while_there_is_another(over, regions):
    ask = over(Endpoint("three", weight=3), Endpoint("one", weight=1), Endpoint("spare", weight=0), strategy="weighted")
    for _ in range(2_000):
        await ask()
    asked = Counter(regions.was_asked())
    regions.faults |= {"three": OSError(), "one": OSError()}

    assert asked["spare"] == 0
    assert asked["three"] == pytest.approx(1_500, rel=0.1)
    assert await ask() == "spare: hi"


async def test_a_strategy_of_the_users_own_picks_among_the_healthy_ones(over, regions):
    offered = []

    def last(endpoints):
        offered.append([endpoint.name for endpoint in endpoints])
        return endpoints[-1]

    ask = over(US, EU, AP, strategy=last)
    regions.faults["ap"] = OSError("down")

    assert await ask() == "eu: hi"
    assert offered == [["us", "eu", "ap"], ["us", "eu"]]


async def test_a_strategy_that_returns_a_stranger_is_told_so(over):
    ask = over(US, EU, strategy=lambda endpoints: AP)

    with pytest.raises(ValueError, match="not one of the endpoints it was given: us, eu"):
        await ask()
