"""Threads wait for their turn of a quota, in one line with tasks."""

from __future__ import annotations

import threading

import anyio
import pytest

from resilient_ai import Endpoint, LimitReachedError, Registry, classified_retry, deadline, failover, rate_limit
from resilient_ai.usage import Usage, report_usage
from tests.helpers import ProviderError

pytestmark = pytest.mark.usefixtures("provider_errors")


def quota(registry):
    return registry.rate_limits["q"].stats()


def test_calls_go_at_the_rate_by_blocking(registry, clock):
    @rate_limit("q", requests_per_minute=60, burst=2, registry=registry)
    def ask():
        return clock.now()

    assert [ask() for _ in range(5)] == pytest.approx([0, 0, 1, 2, 3])


def test_who_cannot_be_served_in_time_is_refused_at_once(registry, clock):
    @rate_limit("q", requests_per_minute=6, burst=10, registry=registry)
    def ask():
        return "answer"

    ask()
    with pytest.raises(LimitReachedError), deadline(5):
        ask()

    assert clock.now() == 0


def test_a_plain_function_uses_and_settles_the_quota_of_its_endpoint(registry, clock):
    @failover(Endpoint("us"), registry=registry)
    @rate_limit("q", tokens_per_minute=12_000, cost=400, registry=registry)
    def ask(endpoint):
        report_usage(Usage(input_tokens=30, output_tokens=20))
        return endpoint.name

    assert ask() == "us"
    assert registry.rate_limits["q[us]"].stats().tokens_left == 950


def test_a_generator_is_settled_when_it_ends(registry):
    @rate_limit("q", tokens_per_minute=12_000, cost=400, registry=registry)
    def ask():
        yield {"choices": [{"delta": {"content": "text"}}]}
        yield {"usage": {"prompt_tokens": 30, "completion_tokens": 20}, "choices": []}

    assert len(list(ask())) == 2
    assert (quota(registry).tokens_left, quota(registry).ok) == (950, 1)


def test_after_a_refusal_a_retry_waits_as_long_as_the_provider_asks(registry, clock):
    errors = [ProviderError("rate_limit", retry_after=7)]

    @classified_retry(registry=registry)
    @rate_limit("q", requests_per_minute=60, registry=registry)
    def ask():
        if errors:
            raise errors.pop()
        return "answer"

    assert ask() == "answer"
    assert clock.now() >= 7


async def test_in_a_running_loop_nothing_blocks(clock):
    registry = Registry(listeners=())

    @rate_limit("q", requests_per_minute=6, burst=10, registry=registry)
    def ask():
        return "answer"

    ask()
    with pytest.raises(LimitReachedError) as refused:
        ask()

    assert "does not block the event loop" in refused.value.__notes__[0]
    assert quota(registry).waiting == 0


def test_threads_and_tasks_wait_in_one_line():
    registry = Registry(listeners=())
    served = []
    settings = {"requests_per_minute": 6000, "burst": 0.01, "registry": registry}

    @rate_limit("q", **settings)
    def ask(number):
        served.append(number)

    @rate_limit("q", **settings)
    async def ask_async(number):
        served.append(number)

    def in_thread(first):
        for number in range(first, first + 10):
            ask(number)

    async def in_tasks():
        async with anyio.create_task_group() as tasks:
            for number in range(100, 110):
                tasks.start_soon(ask_async, number)

    threads = [threading.Thread(target=in_thread, args=(first,)) for first in (0, 10)]
    threads.append(threading.Thread(target=anyio.run, args=(in_tasks,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(served) == [*range(20), *range(100, 110)]
    assert (quota(registry).ok, quota(registry).waiting) == (30, 0)
