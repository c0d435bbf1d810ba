"""Call sites share endpoints, and an operator takes them out and back in."""

from __future__ import annotations

import pytest

from resilient_ai import AllEndpointsFailedError
from resilient_ai.types import EndpointRestingError, EndpointState
from tests.failover.support import AP, EU, US


async def test_call_sites_share_what_is_known_of_an_endpoint(over, regions, registry):
    ask, also = over(US, EU, strategy="priority"), over(US, AP, strategy="priority", name="also")
    regions.faults["us"] = OSError("down")
    await ask()

    assert await also() == "ap: hi"
    assert regions.was_asked() == ["us", "eu", "ap"]
    assert registry.failovers["also"].stats().endpoints["us"].state is EndpointState.RESTING


async def test_an_operator_takes_an_endpoint_out_and_back_in(over, regions, registry):
    ask = over(US, EU, strategy="priority")
    registry.failovers["ask"].mark_down("us")
    answers = [await ask()]
    registry.endpoints["us"].mark_up()
    answers.append(await ask())

    assert answers == ["eu: hi", "us: hi"]
    with pytest.raises(KeyError, match="failover 'ask' has no endpoint named 'mars'; there are: 'us', 'eu'"):
        registry.failovers["ask"].mark_down("mars")


async def test_what_an_operator_marked_down_is_not_asked_even_as_the_last(over, regions, registry):
    ask = over(US, EU)
    for name in ("us", "eu"):
        registry.failovers["ask"].mark_down(name)

    with pytest.raises(AllEndpointsFailedError, match="us: marked down, eu: marked down") as all_failed:
        await ask()

    assert regions.was_asked() == []
    assert isinstance(all_failed.value.errors["us"], EndpointRestingError)
    assert "mark_up('us')" in str(all_failed.value.errors["us"])
