"""A provider that refuses a share of all calls, asked through the stack that the README recommends under load."""

from __future__ import annotations

import random

import anyio
import pytest

from resilient_ai import Endpoint, Registry, adaptive_limit, circuit_breaker, classified_retry, failover
from resilient_ai.testing import VirtualClock
from tests.adaptive_limit.support import TooFastError

CALLS, RATE = 600, 20.0


async def share_answered(*, limited, refused, deadline):
    clock, rng = VirtualClock(), random.Random(1)
    registry = Registry(clock=clock, rng=random.Random(1), listeners=())

    async def ask(endpoint):
        if rng.random() < refused:
            await clock.sleep(0.05)
            raise TooFastError(1.0)
        await clock.sleep(0.25 + 0.5 * rng.random())

    stack = circuit_breaker(registry=registry)(ask)
    if limited:
        stack = adaptive_limit(registry=registry)(stack)
    stack = classified_retry(registry=registry)(failover(Endpoint("us"), Endpoint("eu"), registry=registry)(stack))
    answered = 0

    async def caller(number):
        nonlocal answered
        await clock.sleep(number / RATE)
        with clock.move_on_after(deadline):
            try:
                await stack()
            except Exception:
                return
            answered += 1

    async with clock.autojump(), anyio.create_task_group() as tasks:
        for number in range(CALLS):
            tasks.start_soon(caller, number)
    return answered / CALLS


@pytest.mark.parametrize("deadline", [2.0, 15.0])
@pytest.mark.parametrize("refused", [0.01, 0.2])
async def test_a_limit_loses_no_answers_to_refusals_by_chance(refused, deadline):
    without = await share_answered(limited=False, refused=refused, deadline=deadline)
    with_limit = await share_answered(limited=True, refused=refused, deadline=deadline)

    assert with_limit >= without - 0.01
