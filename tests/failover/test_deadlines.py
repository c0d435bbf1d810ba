"""Before a caller's deadline an endpoint that does not answer is left while there is time for the next one."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from resilient_ai import AllEndpointsFailedError, Endpoint, deadline, failover
from resilient_ai._failover.health import EndpointHealth
from resilient_ai._failover.time_for_next import seconds_for
from resilient_ai.testing import capture_events, isolated_registry

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = (Endpoint(name) for name in ("first", "second", "third"))


@asynccontextmanager
async def virtual_time():
    with isolated_registry() as registry:
        async with registry.clock.autojump():
            yield registry


class Provider:
    """Endpoints that take so long to answer."""

    def __init__(self, clock, **seconds):
        self.seconds = seconds
        self.asked = []
        self._clock = clock

    def over(self, *endpoints, **settings):
        @failover(*endpoints, name="ask", strategy="priority", **settings)
        async def ask(endpoint, *_given):
            self.asked.append((endpoint.name, self._clock.now()))
            await self._clock.sleep(self.seconds[endpoint.name])
            return endpoint.name

        return ask


def answered_in(*seconds):
    health, now = EndpointHealth(), 0.0
    for each in seconds:
        health.succeed(health.admit(now), now + each, each)
        now += each
    return health


@pytest.mark.parametrize(
    ("asked", "others", "left", "seconds"),
    [
        ([2], [[1]], 15, 13),  # twice the average of the next one is kept
        ([2], [[4], [1]], 15, 13),  # of the fastest
        ([2], [[5]], 15, 7.5),  # not more than half of the time
        ([4], [[5]], 15, 12),  # not before three times its own average
        ([6], [[1]], 15, None),  # it may be just slow today
        ([2], [[0.1]], 15, 13.5),  # not less than a tenth of the time
        ([2], [[]], 15, 10),  # a third for one that has never answered
        ([], [[]], 15, 10),
        ([2], [], 15, None),  # nobody else
    ],
)
def test_how_long_an_endpoint_may_take(asked, others, left, seconds):
    assert seconds_for(answered_in(*asked), [answered_in(*each) for each in others], left) == seconds


async def test_the_next_endpoint_answers_in_time():
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=1000, second=1)
        with deadline(15):
            assert await provider.over(FIRST, SECOND)() == "second"

    assert provider.asked == [("first", 0), ("second", 10)]


async def test_the_last_endpoint_has_all_that_is_left():
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=1000, second=1000, third=1.5)
        with deadline(15):
            assert await provider.over(FIRST, SECOND, THIRD)() == "third"

    assert [name for name, _ in provider.asked] == ["first", "second", "third"]


async def test_no_endpoint_is_blamed_for_it():
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=1000, second=1)
        ask = provider.over(FIRST, SECOND)
        for _ in range(5):
            with deadline(15):
                await ask()
        endpoint = registry.endpoints["first"].stats()

        assert (endpoint.failed, endpoint.healthy, endpoint.in_flight) == (0, True, 0)


async def test_it_is_told_as_moving_on():
    async with virtual_time() as registry:
        with capture_events() as events, deadline(15):
            await Provider(registry.clock, first=1000, second=1).over(FIRST, SECOND)()

    assert [(each.endpoint, each.to, each.error_type) for each in events if type(each).__name__ == "FailedOver"] == [
        ("first", "second", "timeout")
    ]


async def test_without_a_deadline_everybody_is_waited_for():
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=1000, second=1)

        assert await provider.over(FIRST, SECOND)() == "first"


@pytest.mark.parametrize("settings", [{"idempotent": False}, {"max_endpoints": 1}])
async def test_nor_is_anybody_left_when_no_other_may_be_asked(settings):
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=14, second=1)
        with deadline(15):
            assert await provider.over(FIRST, SECOND, **settings)() == "first"


async def test_nor_when_the_request_can_be_sent_only_once():
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=14, second=1)
        with deadline(15):
            assert await provider.over(FIRST, SECOND)(iter("request")) == "first"


async def test_the_error_names_those_that_were_left():
    async with virtual_time() as registry:

        @failover(FIRST, SECOND, strategy="priority")
        async def ask(endpoint):
            if endpoint is SECOND:
                raise ConnectionError("down")
            await registry.clock.sleep(1000)

        with deadline(15), pytest.raises(AllEndpointsFailedError) as raised:
            await ask()

    left = raised.value.errors["first"]
    assert str(left) == "a call through 'first' took longer than timeout_seconds=10"
    assert left.__notes__ == ["resilient_ai: the rest of the caller's deadline is kept for the next endpoint"]


async def test_a_slow_stream_is_left_before_it_has_begun_and_never_after():
    async with virtual_time() as registry:

        @failover(FIRST, SECOND, strategy="priority")
        async def ask(endpoint):
            for _ in range(2):
                await registry.clock.sleep(7 if endpoint is FIRST else 1)
                yield endpoint.name

        with deadline(15):
            assert [item async for item in ask()] == ["first", "first"]


async def test_a_hedged_call_asks_beside_and_leaves_nobody():
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=14, second=1000)
        with deadline(15):
            assert await provider.over(FIRST, SECOND, hedge_after=5)() == "first"

    assert provider.asked == [("first", 0), ("second", 5)]


async def test_a_caller_who_is_cancelled_meanwhile_is_cancelled():
    async with virtual_time() as registry:
        provider, answers = Provider(registry.clock, first=1000, second=1), []

        async def caller():
            with deadline(15):
                answers.append(await provider.over(FIRST, SECOND)())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller)
            await registry.clock.sleep(1)
            tasks.cancel_scope.cancel()

        assert (answers, registry.endpoints["first"].stats().in_flight) == ([], 0)


@pytest.mark.parametrize(("left", "hedged"), [(1.4, False), (1.6, True)])
async def test_no_hedge_is_sent_that_would_hardly_be_answered_before_the_deadline(left, hedged):
    async with virtual_time() as registry:
        provider = Provider(registry.clock, first=1000, second=1)
        ask = provider.over(FIRST, SECOND, hedge_after=8)
        await ask()
        provider.asked.clear()
        with suppress(TimeoutError), deadline(8 + left):
            await ask()

    assert ("second" in dict(provider.asked)) is hedged
