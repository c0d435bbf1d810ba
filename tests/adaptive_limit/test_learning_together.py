"""Many good answers, from which the limit learns together."""

from __future__ import annotations

from functools import partial
from itertools import chain, cycle, repeat

import anyio
import pytest

from resilient_ai import Registry, adaptive_limit
from resilient_ai._adaptive_limit.concurrency import LEARNT_TOGETHER, ConcurrencyLimit
from resilient_ai._adaptive_limit.config import LimitConfig
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


def answers_in(seconds):
    """A full list of answers, one at a time."""
    return [(next(seconds), 1, 1, 0.0) for _ in range(LEARNT_TOGETHER)]


def learnt(*lists):
    limit = ConcurrencyLimit(LimitConfig(20, 1, 100, True, None, 100))
    return limit, [limit.learn_from(each) for each in lists]


@pytest.mark.parametrize("machines", [2, 3, 4, 5, 8])
def test_full_lists_show_what_is_normal_however_many_machines_answer_in_turn(machines):
    turns = cycle([1.0] * (machines - 1) + [1.4])
    limit, _ = learnt(*[answers_in(turns) for _ in range(20)])

    assert limit.latency.typical == pytest.approx(1.4 ** (1 / machines), rel=0.05)


@pytest.mark.parametrize("normal", range(0, LEARNT_TOGETHER, 7))
def test_the_limit_is_lowered_wherever_in_a_full_list_answers_become_slow(normal):
    turns = chain([1.0] * normal, repeat(10.0))
    _, lowered = learnt(*[answers_in(repeat(1.0)) for _ in range(3)], answers_in(turns), answers_in(turns))

    assert lowered[:3] == [False] * 3
    assert any(lowered[3:])


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
