"""Plain functions in many threads: every call is counted once, in every layer."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest

from resilient_ai import CircuitOpenError, Registry, circuit_breaker, classified_retry
from resilient_ai.testing import VirtualClock
from tests.helpers import interleaved

THREADS, CALLS = 8, 100


def test_eight_threads_count_every_call_in_every_layer():
    registry = Registry(clock=VirtualClock(), listeners=())
    sent, lock = [0], threading.Lock()

    @classified_retry("counted", budget=None, registry=registry)
    @circuit_breaker("counted", failure_threshold=10**9, registry=registry)
    def ask():
        with lock:
            sent[0] += 1
            number = sent[0]
        if number % 10 == 0:
            raise ConnectionError
        return "pong"

    def caller():
        for _ in range(CALLS):
            assert ask() == "pong"

    interleaved(*[caller] * THREADS, trace=("fast_path", "plain_calls"))
    retries, circuit = registry.retries["counted"].stats(), registry.circuit_breakers["counted"].stats()

    assert retries.calls == THREADS * CALLS
    assert circuit.total_calls == sent[0] == THREADS * CALLS + retries.retries
    assert circuit.total_failures == retries.retries == sent[0] // 10


def test_a_half_open_circuit_lets_one_thread_probe():
    clock = VirtualClock()
    registry = Registry(clock=clock, listeners=())
    probing, probed = threading.Event(), threading.Event()
    down = [True]

    @circuit_breaker("shut", failure_threshold=1, success_threshold=1, half_open_max_calls=1, registry=registry)
    def ask():
        if down[0]:
            raise OSError
        probing.set()
        probed.wait(10)
        return "pong"

    with pytest.raises(OSError):
        ask()
    down[0] = False
    clock.advance(60)
    probe = threading.Thread(target=ask)
    probe.start()
    probing.wait(10)
    with pytest.raises(CircuitOpenError) as caught:
        ask()
    probed.set()
    probe.join()

    assert caught.value.reason == "half_open_full"
    assert ask() == "pong"


def test_threads_that_wait_wait_beside_each_other_on_a_virtual_clock():
    clock = VirtualClock()
    together = threading.Barrier(THREADS)

    def wait():
        together.wait()
        clock.block(5)

    interleaved(*[wait] * THREADS, trace=("no file",))

    assert 5 <= clock.now() <= 5 * THREADS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_forked_child_calls_with_free_locks_while_a_thread_of_the_parent_is_in_a_call():
    registry = Registry(listeners=())
    inside, leave = threading.Event(), threading.Event()

    @classified_retry("forked", registry=registry)
    @circuit_breaker("forked", registry=registry)
    def ask(wait):
        if wait:
            inside.set()
            leave.wait(10)
        return "pong"

    thread = threading.Thread(target=partial(ask, True))
    thread.start()
    inside.wait(10)
    child = os.fork()
    if not child:
        os._exit(0 if ask(False) == "pong" else 1)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()

    assert os.waitstatus_to_exitcode(status) == 0
