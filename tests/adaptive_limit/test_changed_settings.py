"""What a limit does when its settings are changed: what it learned stays within the new bounds, and the queue moves."""

from __future__ import annotations

import anyio
import pytest

from resilient_ai import LimitReachedError, adaptive_limit


@pytest.fixture
def change(registry):
    return lambda **settings: registry.configure({"ask": {"adaptive_limit": settings}})


@pytest.fixture
def ask(registry):
    @adaptive_limit("ask", initial=2, max_limit=50, registry=registry)
    async def ask(seconds=0.0):
        await registry.clock.sleep(seconds)

    return ask


def test_what_was_learned_is_held_to_the_new_bounds(registry, ask, change):
    change(min_limit=5, initial=5)
    assert registry.limits["ask"].stats().limit == 5

    change(min_limit=1, initial=1, max_limit=3)
    assert registry.limits["ask"].stats().limit == 3


async def test_callers_in_the_queue_go_on_when_there_is_room_for_more(registry, clock, ask, change):
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask, 100)
        await anyio.wait_all_tasks_blocked()
        assert registry.limits["ask"].stats().waiting == 3

        change(min_limit=5, initial=5)
        await anyio.wait_all_tasks_blocked()
        assert (registry.limits["ask"].stats().waiting, registry.limits["ask"].stats().in_flight) == (0, 5)
        clock.advance(100)


async def test_a_new_bound_of_the_queue_refuses_newcomers(ask, change):
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask, 100)
        await anyio.wait_all_tasks_blocked()
        change(max_queue_size=1)
        with pytest.raises(LimitReachedError):
            await ask()
        tasks.cancel_scope.cancel()
