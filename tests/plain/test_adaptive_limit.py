"""Threads wait for a place of a limit, which learns from plain functions as it learns from async ones."""

from __future__ import annotations

import threading

import pytest

from resilient_ai import LimitReachedError, Registry, adaptive_limit, circuit_breaker, classified_retry, deadline
from tests.helpers import ProviderError, interleaved

pytestmark = pytest.mark.usefixtures("provider_errors")


class Slow:
    """A function that answers when it is told to, in a thread of its own."""

    def __init__(self, registry, **settings):
        self.inside, self.leave = threading.Event(), threading.Event()
        self.answers = []
        self.ask = adaptive_limit("limit", registry=registry, **settings)(self.answer)

    def answer(self, text="slow"):
        if text == "slow":
            self.inside.set()
            self.leave.wait(10)
        return text

    def __enter__(self):
        self.thread = threading.Thread(target=lambda: self.answers.append(self.ask()))
        self.thread.start()
        self.inside.wait(10)
        return self

    def __exit__(self, *_):
        self.leave.set()
        self.thread.join()


def test_a_thread_waits_for_the_place_of_another_and_gets_it():
    registry = Registry(listeners=())
    served = threading.Event()
    with Slow(registry, initial=1, max_limit=1) as slow:
        waiting = threading.Thread(target=lambda: (slow.answers.append(slow.ask("second")), served.set()))
        waiting.start()
        while not registry.limits["limit"].stats().waiting:
            served.wait(0.001)
        before = list(slow.answers)
    waiting.join()

    assert before == []
    assert sorted(slow.answers) == ["second", "slow"]
    assert registry.limits["limit"].stats().in_flight == 0


def test_who_cannot_be_served_in_time_is_refused(registry, clock):
    with Slow(registry, initial=1, max_limit=1, max_wait=3) as slow:
        with pytest.raises(LimitReachedError):
            slow.ask("second")
        with pytest.raises(LimitReachedError), deadline(0):
            slow.ask("third")

    assert clock.now() == 3
    assert registry.limits["limit"].stats().waiting == 0


def test_after_a_rate_limit_calls_wait_as_long_as_the_provider_asks(caller, registry, clock):
    ask = adaptive_limit("limit", registry=registry)(
        caller.scripted(ProviderError("rate_limit", retry_after=5), "pong")
    )
    with pytest.raises(ProviderError):
        caller.call(ask)

    assert caller.call(ask) == "pong"
    assert clock.now() >= 5


def test_with_a_retry_and_a_circuit_it_outlives_rate_limits(caller, registry):
    ask = caller.scripted(*[ProviderError("rate_limit", retry_after=1)] * 3, "pong")
    ask = adaptive_limit("limit", registry=registry)(circuit_breaker("circuit", registry=registry)(ask))

    assert caller.call(classified_retry("retry", registry=registry)(ask)) == "pong"


async def test_within_a_running_loop_it_does_not_wait_and_says_so(registry):
    with Slow(registry, initial=1, max_limit=1) as slow, pytest.raises(LimitReachedError) as caught:
        slow.ask("second")

    assert any("a plain function does not block the event loop" in note for note in caught.value.__notes__)


async def test_async_and_plain_functions_share_a_limit(registry, clock):
    with Slow(registry, initial=1, max_limit=1, max_wait=1):

        @adaptive_limit("limit", initial=1, max_limit=1, max_wait=1, registry=registry)
        async def ask():
            return "pong"

        async with clock.autojump():
            with pytest.raises(LimitReachedError):
                await ask()

    assert clock.now() == 1


def test_eight_threads_never_hold_more_places_than_there_are():
    registry = Registry(listeners=())
    lock, at_once, most, answered = threading.Lock(), [0], [0], [0]

    @adaptive_limit("limit", initial=3, max_limit=3, registry=registry)
    def ask():
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        with lock:
            at_once[0] -= 1
            answered[0] += 1

    def caller():
        for _ in range(15):
            ask()

    interleaved(*[caller] * 8, trace=("gate", "waiter"))
    stats = registry.limits["limit"].stats()

    assert answered[0] == 120
    assert most[0] <= 3
    assert (stats.in_flight, stats.waiting) == (0, 0)


def test_a_stream_holds_its_place_until_it_is_left(registry):
    @adaptive_limit("limit", registry=registry)
    def pieces():
        yield from "abc"

    stream = pieces()
    next(stream)
    while_reading = registry.limits["limit"].stats().in_flight
    stream.close()

    assert (while_reading, registry.limits["limit"].stats().in_flight) == (1, 0)
