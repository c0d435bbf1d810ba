"""Many good answers, from which the limit learns together."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from resilient_ai import Registry, adaptive_limit
from resilient_ai._adaptive_limit.gate import LimitGate
from tests.helpers import interleaved, scripted


def test_good_answers_do_not_send_later_calls_the_long_way(monkeypatch, clock):
    """As long as no time passes, after which the limit looks at its calls."""
    decided = []

    def enter(gate, now):
        decided.append(now)
        return plain_enter(gate, now)

    plain_enter = LimitGate.enter
    monkeypatch.setattr(LimitGate, "enter", enter)
    ask = adaptive_limit("calm", registry=Registry(clock=clock, listeners=()))(scripted("pong"))

    async def caller() -> None:
        for _ in range(500):
            await ask()

    anyio.run(caller)
    assert len(decided) == 1


@pytest.mark.parametrize("limit", [4, 100])
def test_four_threads_count_every_call_of_one_limit(limit):
    registry, calls, threads = Registry(listeners=()), 500, 4
    ask = adaptive_limit("shared", initial=limit, max_limit=limit, registry=registry)(scripted("pong"))

    async def caller() -> None:
        for _ in range(calls):
            await ask()

    interleaved(*[partial(anyio.run, caller)] * threads, trace=("_adaptive_limit/state.py",))

    stats = registry.limits["shared"].stats()
    assert (stats.ok, stats.in_flight, stats.failed) == (calls * threads, 0, 0)
