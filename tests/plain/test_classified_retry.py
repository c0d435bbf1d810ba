"""A retry does for plain functions what it does for async ones, and waits by blocking."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
import tenacity

from resilient_ai import (
    AIServiceError,
    CircuitOpenError,
    ErrorType,
    Registry,
    RetryBudget,
    RetryRule,
    circuit_breaker,
    classified_retry,
    deadline,
    watch,
)
from resilient_ai.events import AttemptFailed, RetriesExhausted, RetryScheduled
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")

EVERY_TWO_SECONDS = {ErrorType.NETWORK_ERROR: RetryRule(3, 2.0, 2.0, jitter="none")}


def test_it_waits_between_attempts_on_the_registrys_clock(caller, registry, events):
    down = caller.scripted(ConnectionError(), ConnectionError(), "pong")
    ask = classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)(down)

    assert caller.call(ask) == "pong"
    assert down.calls == [0.0, 2.0, 4.0]
    assert [type(event) for event in events] == [AttemptFailed, RetryScheduled] * 2
    assert registry.retries["openai"].stats().recovered == 1


def test_at_the_end_it_raises_what_failed_with_its_cause(caller, registry, events):
    down = caller.scripted(ConnectionError("refused"))
    ask = classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)(down)
    with pytest.raises(AIServiceError, match="3 retries for network_error used up") as caught:
        caller.call(ask)

    assert (caught.value.attempts, caught.value.elapsed) == (4, 6.0)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert type(events[-1]) is RetriesExhausted


def test_the_providers_wait_is_a_floor(caller, registry):
    down = caller.scripted(ProviderError("rate_limit", retry_after=42), "pong")

    assert caller.call(classified_retry(registry=registry)(down)) == "pong"
    assert down.calls == [0.0, 42.0]


def test_an_empty_budget_stops_it(caller, registry):
    down = caller.scripted(ConnectionError())
    budget = RetryBudget(capacity=1, per_success=0, per_second=0, price=1)
    ask = classified_retry("openai", rules=EVERY_TWO_SECONDS, budget=budget, registry=registry)(down)
    with pytest.raises(AIServiceError, match="the retry budget is empty"):
        caller.call(ask)

    assert len(down.calls) == 2


def test_an_open_circuit_is_waited_for(caller, registry, clock):
    down = caller.scripted(OSError(), "pong")
    guarded = circuit_breaker("openai", failure_threshold=1, recovery_timeout=3, registry=registry)(down)
    with pytest.raises(OSError):
        caller.call(guarded)
    ask = classified_retry("openai", registry=registry)(guarded)

    assert caller.call(ask) == "pong"
    assert clock.now() == 3


def test_conditions_of_tenacity_are_asked(caller, registry):
    down = caller.scripted(ConnectionError(), "", "pong")
    ask = classified_retry(
        registry=registry,
        wait=tenacity.wait_fixed(7),
        retry=tenacity.retry_if_result(lambda answer: answer == "") | tenacity.retry_if_exception_type(OSError),
    )(down)

    assert caller.call(ask) == "pong"
    assert down.calls == [0.0, 7.0, 14.0]


def test_a_bug_of_the_program_is_raised_as_it_is_at_the_first_call(caller, registry):
    broken = caller.scripted(KeyError("typo"))
    with pytest.raises(KeyError, match="typo"):
        caller.call(classified_retry(registry=registry)(broken))

    assert len(broken.calls) == 1


def test_a_watcher_sees_the_attempts(caller, registry):
    ask = classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)(
        caller.scripted(ConnectionError(), "pong")
    )
    with watch() as seen:
        caller.call(ask)

    assert (seen.attempts, seen.retries) == (2, 1)


def test_ctrl_c_while_it_waits_gives_the_retry_back(clock):
    class Interrupted(type(clock)):
        def block(self, seconds):
            raise KeyboardInterrupt

    registry = Registry(clock=Interrupted(), listeners=())

    @classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)
    def ask():
        raise ConnectionError

    with pytest.raises(KeyboardInterrupt):
        ask()

    stats = registry.retries["openai"].stats()
    assert (stats.retries, stats.budget) == (0, 100)


# -- deadlines and timeouts


def test_it_does_not_wait_beyond_the_callers_deadline(caller, registry):
    down = caller.scripted(ConnectionError())
    ask = classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)(down)
    with pytest.raises(AIServiceError, match="the caller's deadline would end before the next"), deadline(1):
        caller.call(ask)

    assert len(down.calls) == 1


def test_a_timeout_cannot_be_written_down_and_the_async_functions_of_the_name_may_have_one(registry):
    def ask(): ...
    async def ask_async(): ...

    with pytest.raises(ValueError, match="timeout_seconds=9 cannot stop a plain function; leave it out, and give"):
        classified_retry("openai", timeout_seconds=9, registry=registry)(ask)

    classified_retry("openai", timeout_seconds=9, registry=registry)(ask_async)
    classified_retry("openai", registry=registry)(ask)


# -- where an event loop runs


async def test_within_a_running_loop_it_retries_without_a_wait_as_ever(registry):
    calls = []

    @classified_retry("openai", registry=registry)
    def ask():
        calls.append(1)
        if len(calls) < 3:
            raise ProviderError("invalid_output")
        return "pong"

    assert ask() == "pong"


async def test_within_a_running_loop_it_does_not_block_and_says_what_to_do(registry, clock, events):
    @classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)
    def ask():
        raise ConnectionError

    with pytest.raises(
        AIServiceError, match=r"due in 2\.0 s, and a plain function does not block the event loop .*make it `async def`"
    ):
        ask()

    assert clock.now() == 0
    assert [type(event) for event in events] == [AttemptFailed, RetriesExhausted]


async def test_in_a_thread_beside_a_loop_it_waits_for_the_loops_virtual_clock(registry, clock):
    times = []

    @classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)
    def ask():
        times.append(clock.now())
        if len(times) < 3:
            raise ConnectionError
        return "pong"

    async with clock.autojump():
        answer = await anyio.to_thread.run_sync(ask)

    assert answer == "pong"
    assert times == [0.0, 2.0, 4.0]


# -- clocks


def test_a_clock_that_can_only_sleep_is_waited_for_in_a_loop_of_its_own():
    slept = []

    class Clock:
        def now(self):
            return float(len(slept))

        async def sleep(self, seconds):
            await anyio.lowlevel.checkpoint()
            slept.append(seconds)

    registry = Registry(clock=Clock(), listeners=())

    @classified_retry("openai", rules=EVERY_TWO_SECONDS, registry=registry)
    def ask():
        if not slept:
            raise ConnectionError
        return "pong"

    assert ask() == "pong"
    assert slept == [2.0]


def test_an_open_circuit_refuses_at_once_where_no_wait_helps(caller, registry):
    guarded = circuit_breaker("openai", failure_threshold=1, registry=registry)(caller.scripted(OSError()))
    with pytest.raises(OSError):
        caller.call(guarded)
    with pytest.raises(AIServiceError) as caught:
        caller.call(classified_retry("openai", registry=registry)(guarded))

    assert isinstance(caught.value.__cause__, CircuitOpenError)
