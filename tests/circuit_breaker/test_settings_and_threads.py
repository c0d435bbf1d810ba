"""Which settings are refused, and what threads may do."""

from __future__ import annotations

import gc
import threading

import anyio
import pytest

from resilient_ai import CircuitOpenError, CircuitState, ErrorType, Registry, ResilienceError, circuit_breaker
from resilient_ai.testing import VirtualClock
from tests.circuit_breaker.support import driven, fail
from tests.helpers import scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be an integer of at least 1 or None, got 0"),
        ({"failure_threshold": 1.5}, "failure_threshold must be an integer"),
        ({"recovery_timeout": -1}, "recovery_timeout must be a number of at least 0, got -1"),
        ({"recovery_timeout": float("nan")}, "recovery_timeout must be a number of at least 0, got nan"),
        ({"success_threshold": 0}, "success_threshold must be an integer of at least 1, got 0"),
        ({"timeout_seconds": 0}, "timeout_seconds must be a number above 0 or None, got 0"),
        ({"failure_rate_threshold": 1.1}, "failure_rate_threshold must be a number above 0 up to 1 or None, got 1.1"),
        ({"max_recovery_timeout": 5}, "max_recovery_timeout must be a number of at least 60 or None, got 5"),
        ({"failure_threshold": None}, "a circuit needs a rule to open by"),
        ({"ignore": int}, "ignore takes exception types, ErrorTypes or predicates, got the class int"),
        ({"ignore": "timeout"}, "ignore takes exception types, ErrorTypes or predicates, got 'timeout'"),
        ({"ignore": None}, "ignore takes exception types, ErrorTypes or predicates, got None"),
        ({"key": "tenant"}, "key must be a plain callable or None, got 'tenant'"),
        ({"key": fail}, "key must be a plain callable or None, got <function fail"),
        ({"reject": ErrorType.TIMEOUT}, "reject must be a plain callable or None, got"),
        ({"reject": fail}, "reject must be a plain callable or None, got <function fail"),
        ({"ignore": ["timeout"]}, "ignore takes exception types, ErrorTypes or predicates, got 'timeout'"),
        ({"name": 5}, "name of a circuit_breaker must be a non-empty string, got 5; settings are given by keyword"),
        ({"name": ""}, "name of a circuit_breaker must be a non-empty string, got ''"),
    ],
)
def test_a_bad_setting_is_a_value_error_at_decoration(registry, settings, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        circuit_breaker(registry=registry, **settings)(scripted("pong"))


def test_counts_are_exact_after_many_threads_and_loops():
    registry = Registry(listeners=())

    @circuit_breaker("hammer", failure_threshold=10**9, timeout_seconds=None, registry=registry)
    async def ask(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        if number % 3 == 0:
            raise OSError

    async def caller(start: int) -> None:
        for number in range(start, start + 150):
            try:
                await ask(number)
            except OSError:
                continue

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            for start in range(4):
                tasks.start_soon(caller, start)

    threads = [
        threading.Thread(target=anyio.run, args=(run,), kwargs={"backend": backend})
        for backend in ["asyncio", "trio"] * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = registry.circuit_breakers["hammer"].stats()

    assert stats.total_calls == 8 * 4 * 150
    assert stats.total_failures == 8 * sum(
        number % 3 == 0 for start in range(4) for number in range(start, start + 150)
    )


async def test_nothing_of_a_good_call_stays_behind_in_cycles(registry):
    ask = circuit_breaker("clean", registry=registry)(scripted("pong"))
    await ask()
    gc.collect()
    for _ in range(50):
        await ask()

    assert gc.collect() < 50


def test_every_refusal_is_a_resilience_error():
    assert issubclass(CircuitOpenError, ResilienceError)


@pytest.mark.parametrize("start", [0.0, 0.3, 1e6 + 0.7])
async def test_a_deadline_is_reached_however_the_time_was_added_up(start):
    """Ten steps of a tenth are a little less than one, for a float; nobody is refused for that."""
    clock = VirtualClock(start)
    registry = Registry(clock=clock, listeners=())
    gate = anyio.Event()

    @circuit_breaker("sums", recovery_timeout=1, success_threshold=1, timeout_seconds=None, registry=registry)
    async def ask(wait: bool) -> str:
        if wait:
            await gate.wait()
        return "pong"

    def a_second_passes():
        for _ in range(10):
            clock.advance(0.1)

    breaker = registry.circuit_breakers["sums"]
    breaker.trip()
    a_second_passes()
    assert breaker.stats().retry_after == 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, True)
        await anyio.wait_all_tasks_blocked()
        a_second_passes()  # the lease of the probe is over as well

        assert await ask(False) == "pong"
        gate.set()
    assert breaker.state is CircuitState.CLOSED


async def test_whoever_sleeps_retry_after_gets_in(registry, clock):
    ask = circuit_breaker("patient", recovery_timeout=0.7, success_threshold=9, registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["patient"]
    for step in range(50):
        breaker.reset()
        breaker.trip()
        clock.advance(0.013 * step)
        with pytest.raises(CircuitOpenError) as caught:
            await ask()
        clock.advance(caught.value.retry_after)

        assert await ask() == "pong"


async def test_good_answers_are_remembered_within_bounds(registry):
    ask = circuit_breaker("busy", timeout_seconds=None, registry=registry)(scripted("pong"))
    breaker = registry.circuit_breakers["busy"]
    for _ in range(1_000):
        await ask()

    assert breaker.stats().total_calls == 1_000
    assert len(driven(breaker).circuit.record.answer_times) <= 400


async def test_the_failure_that_opened_it_keeps_the_notes_of_a_group(registry):
    @circuit_breaker("group", failure_threshold=1, registry=registry)
    async def ask():
        group = ExceptionGroup("two regions", [OSError("east"), OSError("west")])
        group.add_note("asked in this order")
        raise group

    with pytest.raises(ExceptionGroup):
        await ask()
    gc.collect()
    with pytest.raises(CircuitOpenError) as refused:
        await ask()

    cause = refused.value.__cause__
    assert cause.__notes__[0] == "asked in this order"
    assert "kept without its frames" in cause.__notes__[-1]
    assert cause.__traceback__ is None
