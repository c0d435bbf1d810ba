"""Events, numbers and reprs of a retry."""

from __future__ import annotations

import threading

import anyio
import pytest

from resilient_ai import AIServiceError, ErrorType, Registry, RetryBudget, RetryRule, classified_retry
from resilient_ai._core.call_facts import watch
from resilient_ai.events import AttemptFailed, QuotaExceeded, RetriesExhausted, RetryScheduled
from tests.classified_retry.support import PLAIN, retrying, stats
from tests.helpers import ProviderError, scripted

pytestmark = pytest.mark.usefixtures("provider_errors")


async def test_events_tell_each_failure_each_wait_and_the_end(registry, clock, events):
    ask = retrying(registry, scripted(ProviderError("timeout")), rules=PLAIN, max_attempts=2)
    async with clock.autojump():
        with pytest.raises(AIServiceError):
            await ask("a prompt")

    failed, scheduled, again, ended = events
    assert type(failed) is type(again) is AttemptFailed
    assert (failed.name, failed.attempt, failed.error_type, failed.error_message) == ("ask", 1, "timeout", "timeout")
    assert failed.function.endswith("call")
    assert failed.args_hash == again.args_hash
    assert scheduled == RetryScheduled("ask", 1, "timeout", 1.0)
    assert ended == RetriesExhausted("ask", 2, 1.0, "timeout", "max_attempts=2 reached")


async def test_a_used_up_quota_is_told_as_such(registry, events):
    with pytest.raises(AIServiceError):
        await retrying(registry, scripted(ProviderError("quota_exceeded")))()

    assert type(events[0]) is QuotaExceeded
    assert QuotaExceeded.level == "critical"


async def test_equal_requests_have_equal_hashes_and_different_ones_different(registry, events):
    ask = retrying(registry, scripted(ProviderError("invalid_request")))
    for prompt in ("a", "a", "b"):
        with pytest.raises(AIServiceError):
            await ask(prompt, temperature=0)
    first, second, third = (event.args_hash for event in events if isinstance(event, AttemptFailed))

    assert first == second != third


async def test_error_stats_add_up_over_functions(registry):
    for name, error_type in (("a", "quota_exceeded"), ("b", "invalid_request"), ("b", "not_found")):
        with pytest.raises(AIServiceError):
            await classified_retry(name, registry=registry)(scripted(ProviderError(error_type)))()
    await classified_retry("fine", registry=registry)(scripted("pong"))()

    assert registry.error_stats() == {
        "error_counts": {"a": {"quota_exceeded": 1}, "b": {"invalid_request": 1, "not_found": 1}},
        "total_errors": 3,
        "functions_with_errors": 2,
    }


async def test_watch_sees_attempts_and_retries(registry, clock):
    ask = retrying(registry, scripted("pong", ProviderError("timeout"), "pong", ProviderError("not_found")))
    async with clock.autojump():
        with watch() as seen:
            await ask()
        assert (seen.attempts, seen.retries) == (1, 0)
        with watch() as seen:
            await ask()
        assert (seen.attempts, seen.retries) == (2, 1)
        with watch() as seen, pytest.raises(AIServiceError):
            await ask()

    assert (seen.attempts, seen.retries) == (1, 0)


async def test_the_table_and_the_repr_show_it(registry, clock):
    ask = retrying(registry, scripted(ProviderError("rate_limit"), "pong"))
    async with clock.autojump():
        await ask()

    assert "budget 100" in repr(registry)
    assert repr(registry.retries["ask"]) == "<Retry 'ask': 1 calls, 1 retries, 0 given up>"
    assert "classified_retry 'ask' budget 100" in repr(ask)


async def test_reset_forgets_and_the_function_works_on(registry, clock):
    ask = retrying(registry, scripted("pong", "pong", ProviderError("invalid_request"), "pong"))
    await ask()
    assert (stats(registry).calls, stats(registry).calls) == (1, 1)  # reading never changes anything
    await ask()
    with pytest.raises(AIServiceError):
        await ask()
    registry.reset()
    await ask()

    seen = stats(registry)
    assert (seen.calls, seen.attempts, seen.given_up, seen.error_counts) == (1, 1, 0, {})


def test_counts_are_exact_under_many_threads_and_loops():
    registry = Registry(listeners=())
    rules = {ErrorType.INTERNAL_ERROR: RetryRule(1, 0, 0)}

    @classified_retry("ask", rules=rules, budget=RetryBudget(capacity=10**6, per_second=0), registry=registry)
    async def ask(number: int, failed: list[int]) -> int:
        if number % 5 == 0 and number not in failed:
            failed.append(number)
            raise ProviderError("internal_error")
        await anyio.lowlevel.checkpoint()
        return number

    async def many() -> None:
        failed: list[int] = []
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(ask, number, failed)

    def hammer() -> None:
        for backend in ("asyncio", "trio", "asyncio"):
            anyio.run(many, backend=backend)

    threads = [threading.Thread(target=hammer) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = stats(registry)

    assert (seen.calls, seen.retries, seen.recovered, seen.given_up) == (3_600, 720, 720, 0)
    assert (seen.attempts, seen.error_counts) == (4_320, {"internal_error": 720})
