"""Which endpoint is asked first."""

from __future__ import annotations

from collections import Counter
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from resilient_ai import Endpoint, ErrorType, failover
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


@pytest.mark.parametrize("mock", [Mock, MagicMock, AsyncMock])
@pytest.mark.parametrize("strategy", ["round_robin", "priority", "least_latency"])
async def test_a_mock_is_an_endpoint_where_nobody_asks_for_its_weight(registry, mock, strategy):
    one, other = mock(), mock()
    one.name, other.name = "one", "other"
    one.complete = AsyncMock(side_effect=OSError)
    other.complete = AsyncMock(return_value="pong")

    @failover(one, other, strategy=strategy, registry=registry)
    async def ask(endpoint):
        return await endpoint.complete("ping")

    assert [await ask() for _ in range(3)] == ["pong"] * 3


def test_a_mock_has_no_weight_where_weights_count(registry):
    endpoint = MagicMock()
    endpoint.name = "one"

    with pytest.raises(ValueError, match="weight of endpoint 'one' must be a number"):
        failover(endpoint, strategy="weighted", registry=registry)(AsyncMock())


async def test_a_mock_holds_no_more_text_than_another(registry):
    one, other = MagicMock(), MagicMock()
    one.name, other.name = "one", "other"

    class TooLongError(Exception):
        error_type = ErrorType.CONTEXT_LENGTH

    @failover(one, other, strategy="priority", registry=registry)
    async def ask(endpoint):
        if endpoint is one:
            raise TooLongError
        return "pong"

    assert await ask() == "pong"  # their models differ, as far as anybody can tell
